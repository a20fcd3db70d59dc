package where

// decimal is a number as it was written: 0.DIGITS × 10^exp, with the digits in two pieces, since there may have been a point
// between them. The first digit and the last one are not 0; without digits it is 0.
type decimal struct {
	negative    bool
	front, back []byte
	exp         int64
}

// maxExp bounds what an exponent is taken for. No record is long enough for digits to make up for more.
const maxExp = 1 << 40

// parseDecimal reads a number: -12.5e3. Zeros may stand before it.
func parseDecimal(s []byte) (d decimal, ok bool) {
	if len(s) > 0 && s[0] == '-' {
		d.negative = true
		s = s[1:]
	}
	d.front, s = digits(s)
	if len(d.front) == 0 {
		return d, false
	}
	if len(s) > 0 && s[0] == '.' {
		if d.back, s = digits(s[1:]); len(d.back) == 0 {
			return d, false
		}
	}
	if len(s) > 0 {
		if d.exp, ok = exponent(s); !ok {
			return d, false
		}
	}
	d.exp += int64(len(d.front))
	d.trim()
	return d, true
}

// digits splits off the digits that s begins with.
func digits(s []byte) (front, rest []byte) {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return s[:n], s[n:]
}

// exponent reads all of s, such as e-7.
func exponent(s []byte) (n int64, ok bool) {
	if s[0]|0x20 != 'e' {
		return 0, false
	}
	s = s[1:]
	negative := len(s) > 0 && s[0] == '-'
	if negative || len(s) > 0 && s[0] == '+' {
		s = s[1:]
	}
	all, rest := digits(s)
	if len(all) == 0 || len(rest) > 0 {
		return 0, false
	}
	for _, c := range all {
		n = min(10*n+int64(c-'0'), maxExp)
	}
	if negative {
		n = -n
	}
	return n, true
}

// trim takes the zeros off both ends.
func (d *decimal) trim() {
	for len(d.front) > 0 && d.front[0] == '0' {
		d.front = d.front[1:]
		d.exp--
	}
	if len(d.front) == 0 {
		for len(d.back) > 0 && d.back[0] == '0' {
			d.back = d.back[1:]
			d.exp--
		}
	}
	for len(d.back) > 0 && d.back[len(d.back)-1] == '0' {
		d.back = d.back[:len(d.back)-1]
	}
	if len(d.back) == 0 {
		for len(d.front) > 0 && d.front[len(d.front)-1] == '0' {
			d.front = d.front[:len(d.front)-1]
		}
	}
	if d.len() == 0 {
		*d = decimal{}
	}
}

func (d *decimal) len() int { return len(d.front) + len(d.back) }

func (d *decimal) digit(i int) byte {
	if i < len(d.front) {
		return d.front[i]
	}
	return d.back[i-len(d.front)]
}

// sign is -1, 0 or 1.
func (d *decimal) sign() int {
	switch {
	case d.len() == 0:
		return 0
	case d.negative:
		return -1
	default:
		return 1
	}
}

// compare is below 0 if d is less than e, 0 if they are equal, above 0 if it is more. It is exact.
func (d *decimal) compare(e *decimal) int {
	sign := d.sign()
	if other := e.sign(); sign != other {
		return sign - other
	}
	if d.exp != e.exp {
		if d.exp < e.exp {
			return -sign
		}
		return sign
	}
	for i := range min(d.len(), e.len()) {
		if c := int(d.digit(i)) - int(e.digit(i)); c != 0 {
			return sign * c
		}
	}
	return sign * (d.len() - e.len())
}
