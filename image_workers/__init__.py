"""The image workers: pictures are saved, uploaded, resized, compressed and removed by timed jobs.

    names                     which files and which object belong to a picture          text only
    pictures                  bytes -> thumbnail                                        pixels only
    files, storage, guetzli   the root folder, the bucket, the optimiser
    functions                 what each function does, and which jobs follow            no connection
    values, config            the configuration file
    cli                       folders, worker, signals

A picture can be run through `pictures` and `guetzli` without any job. The command is `image-workers`.
"""
