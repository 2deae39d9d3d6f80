"""Facts of dry starts, and how far our formulas are from them; made by `make drystart`.

models      configs of the catalogue with the fields that it leaves out, cut to a few layers
cases       what is asked of a release: architectures, GPUs, settings
release     an environment of that release, its cases run in it, the facts packed
files       tests/data/drystart/<engine>-<minor>.jsonl.gz
compare     each fact beside what our formulas say
"""
