# bmake reads the first sys.mk of its path; the stand-in beside this file needs no rule of it.
