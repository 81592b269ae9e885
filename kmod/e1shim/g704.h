/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

/**
 * @file g704.h
 * Framing of a 2048 kbit/s line: ITU-T G.704 §2.3 (what timeslot 0 carries), G.706 §4 (alignment
 * and CRC-4), G.732 and G.775 (alarms). One `struct g704` is one end of one line: what it sends and
 * what it receives, since the remote alarm and the E bits carry the one's faults in the other.
 *
 * Time is counted in units: each call of g704_rx or g704_tx is 1 ms, 8 frames, 2048 bits.
 *
 * The rules, each with its source:
 *  - frame alignment is found: FAS 0011011 in a frame, bit 2 of timeslot 0 set in the next, FAS in
 *    the one after (G.706 §4.1.2), at any bit offset of the stream;
 *  - LFA: three FAS in a row wrong, or bit 2 of three NFAS in a row 0 (G.706 §4.1.1), or 915 of
 *    1000 CRC-4 blocks wrong (§4.3.2); ends when alignment is found;
 *  - CRC-4 multiframe alignment is found: two multiframe alignment words 001011 within 8 ms, 2 ms
 *    or a multiple apart (§4.2); after 8 ms without, another frame alignment is tried beside the
 *    one in use, which goes on carrying traffic; after 400 ms without, LMFA. We lose it with LFA,
 *    and after four wrong multiframe words in a row, where G.706 leaves it to the 915 blocks;
 *  - RAI: the A bit 1 in three NFAS in a row; ends with three 0 (G.775 §5.3: 2 to 5);
 *  - LOS: a unit without signal (G.775 §4.2 asks 10 to 255 bits; the backend knows the signal); ends
 *    with the first unit that has one;
 *  - AIS: two periods of 512 bits in a row with at most two zeros each; ends with two with three or
 *    more (G.775 §5.2), or when frame alignment is found;
 *  - the greater fault hides the lesser: LOS all others, AIS the LFA; RAI and LMFA need alignment;
 *  - sent back: the A bit while LOS, AIS or LFA lasts (G.732 table 2); an E bit 0 for each wrong
 *    CRC-4 block received, and all E bits 0 until both alignments are there (G.704 §2.3.3.4);
 *  - what the user gets without alignment, or while LOS or AIS lasts, is all ones.
 */

#ifndef E1_G704_H
#define E1_G704_H

#include "e1types.h"

#define G704_UNIT	256U
#define G704_FRAME	32U
#define G704_FRAMES	8U

enum g704_framing { G704_CLEAR, G704_FAS, G704_CRC4 };

/** The same bits as E1_ALARM_* of e1shim.h. */
#define G704_LOS	0x01U
#define G704_AIS	0x02U
#define G704_RAI	0x04U
#define G704_LFA	0x08U
#define G704_LMFA	0x10U

/** What can be spoilt in what is sent. */
enum g704_fault {
	G704_FAULT_FAS,		/**< by count, as the next three */
	G704_FAULT_CRC,
	G704_FAULT_CODE,
	G704_FAULT_EBIT,
	G704_FAULT_LOS,		/**< by milliseconds, as the rest */
	G704_FAULT_AIS,
	G704_FAULT_RAI,
	G704_FAULT_LFA,
	G704_FAULT_LMFA,
	G704_FAULTS
};
/** An amount that never runs out. */
#define G704_FOREVER	0xffffffffU

struct g704_counters {
	uint64_t	fas;		/**< wrong FAS while aligned */
	uint64_t	crc;		/**< wrong CRC-4 blocks */
	uint64_t	ebit;		/**< E bits received as 0 */
	uint64_t	code;		/**< line code violations */
	uint64_t	begun[5];	/**< times LOS, AIS, RAI, LFA, LMFA began: by bit number */
};

/** CRC-4 multiframe: where a receiver is in it. */
struct g704_multiframe {
	bool		aligned;
	uint8_t		frame;		/**< 0 to 15, of the frame that comes next; once aligned */
	uint8_t		word;		/**< bit 1 of the last eight NFAS */
	uint8_t		seen;		/**< NFAS since the search began, stops at 255 */
	uint8_t		matches[8];	/**< multiframe words seen at each of the 8 phases */
	uint8_t		phase;
	uint8_t		wrong;		/**< wrong multiframe words in a row */
};

/** One alignment of a receiver: where frames begin, and what was read of them. */
struct g704_alignment {
	uint16_t	offset;		/**< first bit of a frame in the window, 0 to 255 */
	bool		fas_next;	/**< the next frame carries the FAS */
	uint8_t		fas_wrong;	/**< in a row */
	uint8_t		nfas_wrong;	/**< in a row */
	struct g704_multiframe mf;
};

struct g704 {
	enum g704_framing framing;
	uint8_t		sa;		/**< Sa4 (0x10) to Sa8 (0x01) sent */
	uint8_t		sa_received;

	/* sending */
	uint8_t		tx_half;	/**< sub-multiframe that comes next: 0 or 1 */
	uint8_t		tx_crc;		/**< CRC-4 of the one before */
	uint32_t	ebits_owed;	/**< wrong blocks received and not told yet */
	uint32_t	fault[G704_FAULTS];

	/* receiving */
	uint8_t		window[G704_FRAME + G704_UNIT];	/**< a frame's worth of the past, and the unit */
	bool		aligned;
	struct g704_alignment in_use;
	bool		trying;		/**< `other` is being tried for its multiframe */
	struct g704_alignment other;
	uint16_t	search_from;	/**< offset at which the next search begins */
	uint16_t	other_ms;	/**< ms since the search for the multiframe tried another */
	uint16_t	no_mf_ms;	/**< ms with frame alignment and without multiframe */
	uint32_t	crc_sum;	/**< running remainder of the block that comes */
	uint8_t		crc_before;	/**< CRC-4 of the block before */
	bool		crc_whole;	/**< crc_sum began with a block */
	bool		crc_known;	/**< crc_before belongs to a whole block */
	uint8_t		crc_received;	/**< C bits collected */
	uint16_t	blocks;		/**< of the 1000 */
	uint16_t	blocks_wrong;
	uint8_t		a_row;		/**< equal A bits in a row */
	bool		a_bit;
	bool		rai;
	bool		lmfa;
	uint8_t		ais_row;	/**< periods in a row that speak for a change */
	bool		ais;
	uint32_t	alarms;		/**< G704_* seen now */
	struct g704_counters counters;
};

/** Begins unaligned (LFA) with a framing; a clear channel begins without alarm. */
void	g704_init(struct g704 *g, enum g704_framing framing, uint8_t sa);
/** Makes an end that only sends stand as though it received well: no RAI, E bits 1. */
void	g704_assume_aligned(struct g704 *g);
/** Asks for a fault: see enum g704_fault. 0 ends one. Counts add up. */
void	g704_inject(struct g704 *g, enum g704_fault fault, uint32_t amount);
/** Makes the line's unit from the user's, in place: fills timeslot 0.
 *  @param code_errors  out: violations of the line code that go with the unit
 *  @return false: no signal is sent (the unit is then of no meaning) */
bool	g704_tx(struct g704 *g, uint8_t unit[G704_UNIT], uint32_t *code_errors);
/** Takes the line's unit, at any bit offset, and gives the user's.
 *  @param line         256 bytes, or NULL without signal
 *  @param code_errors  violations of the line code seen with it
 *  @return the alarms that changed; `g->alarms` are the new ones */
uint32_t g704_rx(struct g704 *g, const uint8_t *line, uint32_t code_errors, uint8_t out[G704_UNIT]);
/** What is sent now that tells or makes an alarm: G704_* bits. */
uint32_t g704_sent(const struct g704 *g);
/** CRC-4 of G.704 §2.3.3.5 (x^4+x+1) of bytes, a multiple of 8 of them. For tests. */
uint8_t	g704_crc4(const uint8_t *bytes, size_t length);

#endif /* E1_G704_H */
