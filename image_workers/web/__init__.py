"""The page: pictures come in over HTTP, and whoever sent one sees each step. Of the rooms of this house it is the one
with a door to strangers, so nothing here trusts what it is told, and nothing grows without a limit.

It performs no job and decodes no picture. Its own packages (Starlette, Hypercorn, python-multipart) come with
`periodicd[serve]`.
"""
