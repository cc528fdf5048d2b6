#!/bin/sh
# A worker in six lines: `sh examples/worker.sh`, and then `periodic call shout hello -w 'hello, world'`. Ctrl-C ends it.
# The workload comes in a file, all else as quoted variables, so any bytes and names are safe. A worker that is killed
# loses no job: its lease of a minute runs out, and another is given it.
cd "$(mktemp -d)" || exit
while job=$(periodic take shout --lease 1m --workload in) && eval "$job"; do
    if said=$(tr a-z A-Z 2>&1 <in >out)
    then periodic finish "$job_handle" --data @out
    else periodic finish "$job_handle" --failed "$said"
    fi
done
