"""The image workers: pictures are saved, uploaded, resized, compressed and removed by timed jobs.

    names                     which files and which object belong to a picture          text only
    pictures                  bytes -> thumbnail                                        pixels only
    metadata                  what originals carry besides: taken out, or kept            bytes only
      jpeg, exif, bmff        segments, EXIF and XMP, the boxes of AVIF
    decoder, declared         pictures in children, with limits that follow from what they declare
    children                  processes that end with the worker: both sides, and what is said between them
    stores                    where files are kept: a folder, Aliyun OSS, what OpenDAL speaks
    guetzli                   the optimiser
    progress                  leases that are kept while something moves                  a job's lease only
    functions                 what each function does, and which jobs follow            no connection
    values, config            the configuration file
    cli                       folders, worker, signals

A picture can be run through `decoder` and `guetzli` without any job; one that is known, through `pictures` alone. The
command is `image-workers`.
"""
