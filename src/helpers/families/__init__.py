"""One experiment for every family of vision-language model: does training on text alone teach it to see?

The families are those of "An Introduction to Vision-Language Modeling" (arXiv 2405.17247). A *member* is one published
system at the size of the drawn world. It takes a *lesson* on invented classes, *reads* texts about real ones or *looks*
at their images, and answers the project's test questions (`helpers.families.member`). `helpers.families.registry` lists
the members, `helpers.families.study` asks them.
"""
