"""Where Kamailio's modules lie."""

import pathlib

MODULES = ("/usr/lib/x86_64-linux-gnu/kamailio/modules", "/usr/lib/kamailio/modules",
           "/usr/lib64/kamailio/modules")


def modules():
    return next(path for path in MODULES if pathlib.Path(path).is_dir())
