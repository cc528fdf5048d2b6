"""Command workers: any program as a worker's function, each run in processes that end with it. docs/command-workers.md.

    serving        a command worker from its start to its end
    rules          what it was told, by the options of the command
    children       the worker's side of the keeper, and a command that runs
    keeper         a program of its own that starts commands, and ends them when the worker has ended, however that was
    runs           what is the same for every run: its locks, its lease, its failures; what is told of the job
    once           a command for each job
    pool, framing  commands that live on, a line for each job; what the lines say

Linux only. Nothing is imported here.
"""
