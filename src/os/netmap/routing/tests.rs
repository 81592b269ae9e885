//! Messages laid out by hand after net/route.h, net/if_dl.h and netinet/in.h of FreeBSD 14.
