"""The image workers: pictures are saved, uploaded, resized, compressed and removed by timed jobs.

    names                     which files and which object belong to a picture          text only
    pictures                  bytes -> thumbnail                                        pixels only
    metadata                  what originals carry besides: taken out, or kept            bytes only
      jpeg, exif, bmff        segments, EXIF and XMP, the boxes of AVIF
    files, storage, guetzli   the root folder, the bucket, the optimiser
    progress                  leases that are kept while something moves                  a job's lease only
    functions                 what each function does, and which jobs follow            no connection
    values, config            the configuration file
    cli                       folders, worker, signals

A picture can be run through `pictures` and `guetzli` without any job. The command is `image-workers`.
"""
