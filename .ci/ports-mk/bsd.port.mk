# A stand-in for FreeBSD's bsd.port.mk: as much of it as stages the two ports of this tree on Linux
# with bmake, so that .ci/freebsd-package packs what the port's own Makefile installs. Nothing is
# fetched or built here: the programs come from the cross build.
#
#   bmake -m $PWD/.ci/ports-mk -C ports/net/voip stage STAGEDIR= WRKDIR= WRKSRC= BUILT=
#
# BUILT is the folder with voipd and voipctl (or e1shim.ko), all paths absolute. OPTIONS names the
# options that are on. TMPPLIST is then pkg-plist as pkg(8) reads it. Variables are asked with -V.

PREFIX=		/usr/local
PORTVERSION=	${DISTVERSION}
DISTVERSIONFULL=	${DISTVERSION}
PKGBASE=	${PORTNAME}${PKGNAMESUFFIX}
ETCDIR=		${PREFIX}/etc/${PORTNAME}
DOCSDIR=	${PREFIX}/share/doc/${PORTNAME}
EXAMPLESDIR=	${PREFIX}/share/examples/${PORTNAME}
FILESDIR=	${.CURDIR}/files
TMPPLIST=	${WRKDIR}/.PLIST.mktmp
KMODDIR=	/boot/modules
OPTIONS?=	DOCS

# Modes as bsd.own.mk has them: programs and scripts 0555, the rest 0644. Nobody owns anything on
# the stage: pkg-plist says who will.
INSTALL_DATA=	install -m 0644
INSTALL_MAN=	install -m 0644
INSTALL_SCRIPT=	install -m 0555
INSTALL_KLD=	install -m 0555
MKDIR=		mkdir -p
MV=		mv
RMDIR=		rmdir
STRIP_CMD?=	strip

_RELATIVE=	ETCDIR EXAMPLESDIR DOCSDIR
# PLIST_SUB has paths below the prefix, SUB_LIST whole ones.
_PLIST_SUB=	sed -e 's,%%KMODDIR%%,${KMODDIR:S,^/,,},g'
_SUB_LIST=	sed -e 's,%%PREFIX%%,${PREFIX},g'
.for name in ${_RELATIVE}
_PLIST_SUB+=	-e 's,%%${name}%%,${${name}:S,^${PREFIX}/,,},g'
_SUB_LIST+=	-e 's,%%${name}%%,${${name}},g'
.endfor

.PHONY: stage
stage:
	@${MKDIR} ${STAGEDIR}${PREFIX} ${WRKDIR}
.for file in ${SUB_FILES} ${USE_RC_SUBR}
	@${_SUB_LIST} ${FILESDIR}/${file}.in >${WRKDIR}/${file}
.endfor
# USES=cargo installs into bin; USES=kmod makes the folder of the module.
.if ${USES:Mcargo}
	@${MKDIR} ${STAGEDIR}${PREFIX}/bin
	@install -m 0555 ${_PROGRAMS:S,^,${BUILT}/,} ${STAGEDIR}${PREFIX}/bin
.endif
.if ${USES:Mkmod}
	@${MKDIR} ${STAGEDIR}${KMODDIR}
	@${MAKE} -m ${.PARSEDIR} -C ${.CURDIR} do-install WRKSRC=${BUILT} \
		STAGEDIR=${STAGEDIR} WRKDIR=${WRKDIR}
.endif
.if target(post-install)
	@${MAKE} -m ${.PARSEDIR} -C ${.CURDIR} post-install WRKSRC=${WRKSRC} \
		STAGEDIR=${STAGEDIR} WRKDIR=${WRKDIR} STRIP_CMD="${STRIP_CMD}"
.endif
.for option in ${OPTIONS}
.  if target(post-install-${option}-on)
	@${MAKE} -m ${.PARSEDIR} -C ${.CURDIR} post-install-${option}-on WRKSRC=${WRKSRC} \
		STAGEDIR=${STAGEDIR} WRKDIR=${WRKDIR}
.  endif
.endfor
	@${_PLIST_SUB} ${.CURDIR}/pkg-plist >${TMPPLIST}
.for script in ${USE_RC_SUBR}
	@${MKDIR} ${STAGEDIR}${PREFIX}/etc/rc.d
	@${INSTALL_SCRIPT} ${WRKDIR}/${script} ${STAGEDIR}${PREFIX}/etc/rc.d/${script}
	@echo etc/rc.d/${script} >>${TMPPLIST}
.endfor
.if ${OPTIONS:MDOCS}
.  for doc in ${PORTDOCS}
	@echo ${DOCSDIR:S,^${PREFIX}/,,}/${doc} >>${TMPPLIST}
.  endfor
.endif
# Manual pages are compressed on the stage.
	@find ${STAGEDIR}${PREFIX}/share/man -type f ! -name '*.gz' -exec gzip -9n {} +
