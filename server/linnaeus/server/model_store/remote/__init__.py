"""Copies a repository from a bucket or a website into a folder, whole versions at a time.

The rest of the server reads that folder as it reads one on a disk. Versions are immutable; what a bucket has is neither
trusted nor always there. From the top down: `remote_repository`, `synchronizer`, `version_download`, `plan`, `listing`,
`local_copy`, `bucket`.
"""
