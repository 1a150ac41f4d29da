"""The state of an installation: what is there, what is amiss, and what to do about it.

    python -m pcdet.doctor

Each part is asked on its own, and imports what it needs only then: the doctor also works where
torch or the compiled operators are missing or broken.
"""
