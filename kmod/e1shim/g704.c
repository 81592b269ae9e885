/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

#include "g704.h"

#define FAS		0x1bU	/* bits 2 to 8 of timeslot 0 */
#define FAS_MASK	0x7fU
#define BIT1		0x80U	/* C, multiframe word or E */
#define NFAS_BIT2	0x40U
#define NFAS_A		0x20U
#define SA_MASK		0x1fU
#define MFAS		0x0bU	/* 001011 */
#define MFAS_MASK	0x3fU

#define FAS_WRONG_MAX	3U	/* G.706 4.1.1 */
#define MFAS_WRONG_MAX	4U
#define A_ROW		3U	/* G.775 5.3 */
#define AIS_ROW		2U	/* G.775 5.2 */
#define AIS_ZEROS	2U
#define OTHER_MS	8U	/* G.706 4.2 */
#define LMFA_MS		400U
#define BLOCKS		1000U	/* G.706 4.3.2 */
#define BLOCKS_WRONG	915U
#define EBITS_OWED_MAX	1000U	/* a second's worth: later is of no use (G.704 2.3.3.4) */

static uint64_t
word_at(const uint8_t *p)
{
	return ((uint64_t)p[0] << 56 | (uint64_t)p[1] << 48 | (uint64_t)p[2] << 40 |
	    (uint64_t)p[3] << 32 | (uint64_t)p[4] << 24 | (uint64_t)p[5] << 16 |
	    (uint64_t)p[6] << 8 | p[7]);
}

static void
put_word(uint8_t *p, uint64_t w)
{
	p[0] = (uint8_t)(w >> 56);
	p[1] = (uint8_t)(w >> 48);
	p[2] = (uint8_t)(w >> 40);
	p[3] = (uint8_t)(w >> 32);
	p[4] = (uint8_t)(w >> 24);
	p[5] = (uint8_t)(w >> 16);
	p[6] = (uint8_t)(w >> 8);
	p[7] = (uint8_t)w;
}

/*
 * CRC-4 without tables. x^4+x+1 is primitive, so it divides x^15+1: a message may first be reduced
 * modulo x^15+1, where multiplying by x^64 is turning 15 bits left by 64 mod 15 = 4 places.
 */
static uint32_t
crc_add(uint32_t sum, uint64_t w)
{
	uint32_t folded = (uint32_t)((w ^ w >> 15 ^ w >> 30 ^ w >> 45 ^ w >> 60) & 0x7fff);

	return (((sum << 4 | sum >> 11) & 0x7fff) ^ folded);
}

/* The remainder of the sum times x^4. */
static uint8_t
crc_end(uint32_t sum)
{
	uint32_t left = sum << 4, bit;

	for (bit = 18; bit >= 4; bit--)
		if ((left >> bit & 1) != 0)
			left ^= 0x13U << (bit - 4);
	return ((uint8_t)left);
}

uint8_t
g704_crc4(const uint8_t *bytes, size_t length)
{
	uint32_t sum = 0;
	size_t i;

	for (i = 0; i + 8 <= length; i += 8)
		sum = crc_add(sum, word_at(bytes + i));
	return (crc_end(sum));
}

void
g704_init(struct g704 *g, enum g704_framing framing, uint8_t sa)
{
	memset(g, 0, sizeof(*g));
	g->framing = framing;
	g->sa = sa & SA_MASK;
	if (framing != G704_CLEAR)
		g->alarms = G704_LFA;
}

void
g704_assume_aligned(struct g704 *g)
{
	g->aligned = true;
	g->in_use.mf.aligned = true;
	g->alarms = 0;
}

void
g704_inject(struct g704 *g, enum g704_fault fault, uint32_t amount)
{
	uint32_t *left = &g->fault[fault];

	if (fault >= G704_FAULT_LOS || amount == 0 || amount == G704_FOREVER)
		*left = amount;
	else if (*left != G704_FOREVER)
		*left = amount < G704_FOREVER - 1 - *left ? *left + amount : G704_FOREVER - 1;
}

/* One of a fault by count, if any is left. */
static bool
use_up(uint32_t *left)
{
	if (*left == 0)
		return (false);
	if (*left != G704_FOREVER)
		--*left;
	return (true);
}

/* ---- sending ---- */

/* Bit 1 of the odd frames of each half of a multiframe: 0 0 1 0, then 1 1 E E. */
static uint8_t
tx_nfas_bit1(struct g704 *g, uint32_t odd, bool wrong_mfas)
{
	static const uint8_t mfas[6] = { 0, 0, BIT1, 0, BIT1, BIT1 };
	uint32_t place = g->tx_half * 4U + odd;

	if (place < 6)
		return (wrong_mfas ? mfas[place] ^ BIT1 : mfas[place]);
	if (use_up(&g->fault[G704_FAULT_EBIT]))
		return (0);
	if (!g->aligned || !g->in_use.mf.aligned)
		return (0);
	if (g->ebits_owed > 0) {
		g->ebits_owed--;
		return (0);
	}
	return (BIT1);
}

uint32_t
g704_sent(const struct g704 *g)
{
	uint32_t sent = 0;

	if (g->fault[G704_FAULT_LOS] != 0)
		return (G704_LOS);
	if (g->fault[G704_FAULT_AIS] != 0)
		return (G704_AIS);
	if (g->framing == G704_CLEAR)
		return (0);
	if (g->fault[G704_FAULT_RAI] != 0 || (g->alarms & (G704_LOS | G704_AIS | G704_LFA)) != 0)
		sent |= G704_RAI;
	if (g->fault[G704_FAULT_LFA] != 0)
		sent |= G704_LFA;
	if (g->framing == G704_CRC4 && g->fault[G704_FAULT_LMFA] != 0)
		sent |= G704_LMFA;
	return (sent);
}

/* Timeslot 0 of the eight frames, with the C bits still 0 where CRC-4 will put them. */
static void
tx_timeslot0(struct g704 *g, uint8_t *unit, uint32_t sent)
{
	uint8_t a = (sent & G704_RAI) != 0 ? NFAS_A : 0;
	uint32_t i;

	for (i = 0; i < G704_FRAMES; i++) {
		uint8_t *octet = &unit[i * G704_FRAME];

		if ((i & 1) == 0) {
			*octet = g->framing == G704_CRC4 ? FAS : BIT1 | FAS;
			if (use_up(&g->fault[G704_FAULT_FAS]) || (sent & G704_LFA) != 0)
				*octet ^= 0x01;
			continue;
		}
		*octet = NFAS_BIT2 | a | g->sa;
		if (g->framing == G704_FAS)
			*octet |= BIT1;
		else
			*octet |= tx_nfas_bit1(g, i / 2, (sent & G704_LMFA) != 0);
	}
}

static void
tx_crc4(struct g704 *g, uint8_t *unit)
{
	uint8_t crc = g->tx_crc;
	uint32_t i;

	/* The C bits count as 0 in their own block (G.704 2.3.3.5.1), so the sum comes first. */
	g->tx_crc = g704_crc4(unit, G704_UNIT);
	if (use_up(&g->fault[G704_FAULT_CRC]))
		crc ^= 0x0f;
	for (i = 0; i < 4; i++)
		if ((crc >> (3 - i) & 1) != 0)
			unit[2 * i * G704_FRAME] |= BIT1;
	g->tx_half ^= 1;
}

bool
g704_tx(struct g704 *g, uint8_t unit[G704_UNIT], uint32_t *code_errors)
{
	uint32_t sent = g704_sent(g), i;

	*code_errors = g->fault[G704_FAULT_CODE];
	if (*code_errors == G704_FOREVER)
		*code_errors = 1;
	else
		g->fault[G704_FAULT_CODE] = 0;
	if (g->framing != G704_CLEAR) {
		tx_timeslot0(g, unit, sent);
		if (g->framing == G704_CRC4)
			tx_crc4(g, unit);
	}
	if ((sent & G704_AIS) != 0)
		memset(unit, 0xff, G704_UNIT);
	for (i = G704_FAULT_LOS; i < G704_FAULTS; i++)
		(void)use_up(&g->fault[i]);
	return ((sent & G704_LOS) == 0);
}

/* ---- receiving ---- */

/* Timeslot 0 of a frame that begins at a bit of the window. */
static uint8_t
octet_at(const uint8_t *window, uint32_t bit)
{
	uint32_t two = (uint32_t)window[bit >> 3] << 8;

	if ((bit & 7) != 0)
		two |= window[(bit >> 3) + 1];
	return ((uint8_t)(two >> (8 - (bit & 7))));
}

/* At `offset`, the first frame k (0 to 5) that opens FAS, NFAS, FAS; 8 if none does. */
static uint32_t
sequence_at(const uint8_t *window, uint32_t offset)
{
	uint32_t k;

	for (k = 0; k + 2 < G704_FRAMES; k++) {
		uint32_t bit = offset + k * 256;

		if ((octet_at(window, bit) & FAS_MASK) == FAS &&
		    (octet_at(window, bit + 256) & NFAS_BIT2) != 0 &&
		    (octet_at(window, bit + 512) & FAS_MASK) == FAS)
			return (k);
	}
	return (G704_FRAMES);
}

/* Looks for frame alignment at every offset but `skip`, from search_from on, around once.
   Returns the frame of the first FAS, or 8. */
static uint32_t
search(struct g704 *g, uint32_t skip, struct g704_alignment *found)
{
	uint32_t i, k, offset;

	for (i = 0; i < 256; i++) {
		offset = (g->search_from + i) & 255;
		if (offset == skip)
			continue;
		k = sequence_at(g->window, offset);
		if (k == G704_FRAMES)
			continue;
		memset(found, 0, sizeof(*found));
		found->offset = (uint16_t)offset;
		/* The next search, if this one led astray, tries the others first. */
		g->search_from = (uint16_t)((offset + 1) & 255);
		return (k);
	}
	return (G704_FRAMES);
}

static void
restart_crc(struct g704 *g)
{
	g->crc_sum = 0;
	g->crc_known = false;
	g->crc_whole = false;
	g->crc_received = 0;
	g->blocks = 0;
	g->blocks_wrong = 0;
}

static void
lose_alignment(struct g704 *g)
{
	g->aligned = false;
	g->trying = false;
	g->rai = false;
	g->lmfa = false;
	g->a_row = 0;
	g->no_mf_ms = 0;
	g->other_ms = 0;
	memset(&g->in_use, 0, sizeof(g->in_use));
	restart_crc(g);
}

/* Bit 1 of an NFAS, for finding the multiframe. True when it was found just now. */
static bool
mf_search(struct g704_multiframe *mf, bool bit)
{
	mf->word = (uint8_t)(mf->word << 1 | bit);
	mf->phase = (mf->phase + 1) & 7;
	if (mf->seen < 255)
		mf->seen++;
	if (mf->seen < 6 || (mf->word & MFAS_MASK) != MFAS)
		return (false);
	if (++mf->matches[mf->phase] < 2)
		return (false);
	/* This was frame 11: 12 comes next. */
	memset(mf, 0, sizeof(*mf));
	mf->aligned = true;
	mf->frame = 12;
	return (true);
}

static void
mf_restart(struct g704_multiframe *mf)
{
	memset(mf, 0, sizeof(*mf));
}

/* A FAS frame's C bit; the fourth completes the CRC-4 of the block before. */
static void
rx_c_bit(struct g704 *g, uint32_t frame, bool bit)
{
	g->crc_received = (uint8_t)(g->crc_received << 1 | bit);
	if ((frame & 7) != 6 || !g->crc_known || (g->crc_received & 0x0f) == g->crc_before)
		return;
	g->counters.crc++;
	g->blocks_wrong++;
	if (g->ebits_owed < EBITS_OWED_MAX)
		g->ebits_owed++;
}

/* Bit 1 of an NFAS within a known multiframe. */
static void
rx_mf_bit(struct g704 *g, uint32_t frame, bool bit)
{
	struct g704_multiframe *mf = &g->in_use.mf;

	mf->word = (uint8_t)(mf->word << 1 | bit);
	if (frame == 11) {
		if ((mf->word & MFAS_MASK) == MFAS)
			mf->wrong = 0;
		else if (++mf->wrong == MFAS_WRONG_MAX) {
			mf_restart(mf);
			restart_crc(g);
		}
	} else if (frame >= 13 && !bit)
		g->counters.ebit++;
}

static void
rx_a_bit(struct g704 *g, bool a)
{
	if (g->a_row == 0 || a != g->a_bit) {
		g->a_bit = a;
		g->a_row = 0;
	}
	if (g->a_row < A_ROW)
		g->a_row++;
	if (g->a_row == A_ROW)
		g->rai = a;
}

/* Judges timeslot 0 of one frame. False: alignment is lost with it. */
static bool
rx_judge(struct g704 *g, struct g704_alignment *al, uint8_t octet, bool in_use)
{
	if (al->fas_next) {
		al->fas_next = false;
		if ((octet & FAS_MASK) == FAS)
			al->fas_wrong = 0;
		else {
			if (in_use)
				g->counters.fas++;
			return (++al->fas_wrong < FAS_WRONG_MAX);
		}
		return (true);
	}
	al->fas_next = true;
	if ((octet & NFAS_BIT2) == 0)
		return (++al->nfas_wrong < FAS_WRONG_MAX);
	al->nfas_wrong = 0;
	return (true);
}

/* One frame of the alignment in use: 4 words of 8 octets. */
static void
rx_frame(struct g704 *g, const uint64_t words[4])
{
	struct g704_alignment *al = &g->in_use;
	uint8_t octet = (uint8_t)(words[0] >> 56);
	bool fas = al->fas_next, bit1 = (octet & BIT1) != 0;
	uint32_t i, frame;

	if (!rx_judge(g, al, octet, true)) {
		lose_alignment(g);
		return;
	}
	if (!fas && (octet & NFAS_BIT2) != 0) {
		rx_a_bit(g, (octet & NFAS_A) != 0);
		g->sa_received = octet & SA_MASK;
	}
	if (g->framing != G704_CRC4)
		return;
	if (!al->mf.aligned) {
		if (!fas && mf_search(&al->mf, bit1))
			restart_crc(g);
		return;
	}
	frame = al->mf.frame;
	al->mf.frame = (frame + 1) & 15;
	if (fas)
		rx_c_bit(g, frame, bit1);
	else
		rx_mf_bit(g, frame, bit1);
	if (!al->mf.aligned)
		return;
	if ((frame & 7) == 0) {
		g->crc_sum = 0;
		g->crc_whole = true;
	}
	g->crc_sum = crc_add(g->crc_sum, fas ? words[0] & ~(1ULL << 63) : words[0]);
	for (i = 1; i < 4; i++)
		g->crc_sum = crc_add(g->crc_sum, words[i]);
	if ((frame & 7) == 7) {
		/* The block in which alignment was found was not seen whole. */
		g->crc_before = crc_end(g->crc_sum);
		g->crc_known = g->crc_whole;
		/* The verdicts first: the last one of a thousand belongs to it. */
		if (g->blocks_wrong >= BLOCKS_WRONG)
			lose_alignment(g);
		else if (++g->blocks == BLOCKS) {
			g->blocks = 0;
			g->blocks_wrong = 0;
		}
	}
}

static void
frame_words(const uint8_t *window, uint32_t bit, uint64_t words[4])
{
	const uint8_t *p = window + (bit >> 3);
	uint32_t shift = bit & 7, i;

	for (i = 0; i < 4; i++, p += 8) {
		words[i] = word_at(p);
		if (shift != 0)
			words[i] = words[i] << shift | p[8] >> (8 - shift);
	}
}

/* Carries the frames from `first` on to the user; those before, and all after a loss, are ones. */
static void
rx_frames(struct g704 *g, uint32_t first, uint8_t *out)
{
	uint64_t words[4];
	uint32_t k, i;

	for (k = first; k < G704_FRAMES && g->aligned; k++) {
		frame_words(g->window, g->in_use.offset + k * 256U, words);
		for (i = 0; i < 4; i++)
			put_word(out + k * G704_FRAME + i * 8, words[i]);
		rx_frame(g, words);
	}
	memset(out + k * G704_FRAME, 0xff, (G704_FRAMES - k) * G704_FRAME);
	memset(out, 0xff, first * G704_FRAME);
}

/* Follows the multiframe of another alignment (G.706 4.2), and takes it when it has one. */
static void
rx_other(struct g704 *g)
{
	uint32_t k;

	for (k = 0; k < G704_FRAMES; k++) {
		uint8_t octet = octet_at(g->window, g->other.offset + k * 256U);
		bool fas = g->other.fas_next;

		if (!rx_judge(g, &g->other, octet, false)) {
			g->trying = false;
			return;
		}
		if (!fas && mf_search(&g->other.mf, (octet & BIT1) != 0)) {
			/* The rest of this unit is not judged again: frame numbers go on. */
			g->other.mf.frame = (uint8_t)((12 + (G704_FRAMES - 1 - k)) & 15);
			g->other.fas_next = ((G704_FRAMES - 1 - k) & 1) == 0;
			g->in_use = g->other;
			g->trying = false;
			g->a_row = 0;
			restart_crc(g);
			return;
		}
	}
}

/* Once a unit, aligned and with CRC-4: the 8 ms and 400 ms of G.706 4.2. */
static void
rx_multiframe_time(struct g704 *g)
{
	uint32_t k;

	if (g->in_use.mf.aligned) {
		g->no_mf_ms = 0;
		g->other_ms = 0;
		g->trying = false;
		g->lmfa = false;
		return;
	}
	if (g->no_mf_ms < LMFA_MS && ++g->no_mf_ms == LMFA_MS)
		g->lmfa = true;
	if (++g->other_ms < OTHER_MS)
		return;
	g->other_ms = 0;
	/* Two words must come within 8 ms: older ones no longer count. */
	mf_restart(&g->in_use.mf);
	g->trying = false;
	/* After 400 ms the far end is taken to have no CRC-4; only its words are waited for. */
	if (g->lmfa)
		return;
	k = search(g, g->in_use.offset, &g->other);
	if (k < G704_FRAMES) {
		g->other.fas_next = (k & 1) == 0;
		g->trying = true;
	}
}

/* Whether a period of 512 bits has at most two zeros. */
static bool
mostly_ones(const uint8_t *p)
{
	uint32_t zeros = 0, i;

	for (i = 0; i < 64; i += 8) {
		uint64_t w = ~word_at(p + i);

		for (; w != 0; w &= w - 1)
			if (++zeros > AIS_ZEROS)
				return (false);
	}
	return (true);
}

static void
rx_ais(struct g704 *g, const uint8_t *line)
{
	uint32_t i;

	for (i = 0; i < G704_UNIT; i += 64) {
		if (mostly_ones(line + i) == g->ais) {
			g->ais_row = 0;
			continue;
		}
		if (++g->ais_row == AIS_ROW) {
			g->ais = !g->ais;
			g->ais_row = 0;
		}
	}
}

static uint32_t
set_alarms(struct g704 *g, bool los)
{
	uint32_t now = 0, changed, begun, i;

	if (los)
		now = G704_LOS;
	else if (g->ais)
		now = G704_AIS;
	else if (g->framing != G704_CLEAR && !g->aligned)
		now = G704_LFA;
	else
		now = (g->rai ? G704_RAI : 0) | (g->lmfa ? G704_LMFA : 0);
	changed = now ^ g->alarms;
	begun = changed & now;
	for (i = 0; i < 5; i++)
		g->counters.begun[i] += begun >> i & 1;
	g->alarms = now;
	return (changed);
}

uint32_t
g704_rx(struct g704 *g, const uint8_t *line, uint32_t code_errors, uint8_t out[G704_UNIT])
{
	uint32_t first = 0;

	g->counters.code += code_errors;
	memcpy(g->window, g->window + G704_UNIT, G704_FRAME);
	if (line == NULL) {
		memset(g->window + G704_FRAME, 0, G704_UNIT);
		memset(out, 0xff, G704_UNIT);
		lose_alignment(g);
		g->ais = false;
		g->ais_row = 0;
		return (set_alarms(g, true));
	}
	memcpy(g->window + G704_FRAME, line, G704_UNIT);
	rx_ais(g, line);
	if (g->framing == G704_CLEAR) {
		memcpy(out, line, G704_UNIT);
		return (set_alarms(g, false));
	}
	if (!g->aligned) {
		first = g->ais ? G704_FRAMES : search(g, 256, &g->in_use);
		if (first < G704_FRAMES) {
			/* FAS, NFAS and FAS were seen: the frame after them carries none. */
			first += 3;
			g->in_use.fas_next = false;
			g->aligned = true;
			g->ais = false;
		}
	}
	rx_frames(g, first, out);
	if (g->aligned && g->framing == G704_CRC4) {
		if (g->trying)
			rx_other(g);
		rx_multiframe_time(g);
	}
	if (g->ais)
		memset(out, 0xff, G704_UNIT);
	return (set_alarms(g, false));
}
