"""`docker build` without BuildKit: what dockerd's classic builder does, its output to the letter.

Source for what each instruction does: the Dockerfile reference; for what is told and what the
cache knows: moby, builder/dockerfile.
"""
