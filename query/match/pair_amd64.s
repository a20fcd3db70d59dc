#include "textflag.h"

// func pairIn(p *byte, n, d int, a, b, fold byte) int
//
// 32 places at a time, two registers of 16 bytes each for the first byte and for the second. SSE2 alone, which every amd64 has.
TEXT ·pairIn(SB), NOSPLIT, $0-40
	MOVQ    p+0(FP), SI
	MOVQ    n+8(FP), CX
	MOVQ    d+16(FP), DI
	ADDQ    SI, DI
	MOVBLZX a+24(FP), AX
	MOVBLZX b+25(FP), BX
	MOVBLZX fold+26(FP), DX

	// Each of the three bytes sixteen times.
	IMULQ   $0x01010101, AX
	MOVQ    AX, X0
	PSHUFD  $0, X0, X0
	IMULQ   $0x01010101, BX
	MOVQ    BX, X1
	PSHUFD  $0, X1, X1
	IMULQ   $0x01010101, DX
	MOVQ    DX, X2
	PSHUFD  $0, X2, X2

	XORQ    AX, AX

loop:
	CMPQ    AX, CX
	JGE     none
	MOVOU   (SI)(AX*1), X3
	MOVOU   (DI)(AX*1), X4
	MOVOU   16(SI)(AX*1), X5
	MOVOU   16(DI)(AX*1), X6
	POR     X2, X3
	POR     X2, X4
	POR     X2, X5
	POR     X2, X6
	PCMPEQB X0, X3
	PCMPEQB X1, X4
	PCMPEQB X0, X5
	PCMPEQB X1, X6
	PAND    X4, X3
	PAND    X6, X5
	MOVOU   X3, X7
	POR     X5, X7
	PMOVMSKB X7, BX
	TESTL   BX, BX
	JNZ     found
	ADDQ    $32, AX
	JMP     loop

found:
	PMOVMSKB X3, BX
	PMOVMSKB X5, DX
	SHLL    $16, DX
	ORL     DX, BX
	BSFL    BX, BX
	ADDQ    BX, AX
	MOVQ    AX, ret+32(FP)
	RET

none:
	MOVQ    $-1, ret+32(FP)
	RET
