package match

import "math"

// rarity is how rare each byte is in logs: in eighths of bits, 8 for what every other byte is. Mean of eight kinds (web
// access, cloud audit, builds, events of a code host, Java, sshd, Windows events, and the sixteen of Loghub 2k),
// each as heavy as the others; 200 is for what is in none. TestRarity holds it against other logs.
const rarity = "" +
	"\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\x93\x69\x3e\xc8\xc8\x62\xc8\xc8" +
	"\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\x4f\xc8\xc8\xc8\xc8" +
	"\x21\x72\x28\x5a\x60\x5c\x62\x5e\x45\x45\x64\x4b\x35\x2e\x29\x2e" +
	"\x25\x26\x2a\x2f\x31\x31\x31\x32\x34\x36\x29\x48\x66\x3f\x5e\x60" +
	"\x52\x38\x42\x3e\x41\x3e\x41\x44\x47\x3d\x4d\x4d\x45\x40\x42\x44" +
	"\x42\x4e\x41\x3a\x3a\x46\x4f\x47\x40\x56\x50\x3e\x38\x40\x77\x3e" +
	"\x74\x26\x36\x2d\x2d\x21\x37\x33\x33\x29\x48\x40\x2e\x2f\x2a\x27" +
	"\x2f\x52\x26\x26\x25\x2f\x3a\x3a\x41\x3c\x4d\x49\x52\x49\x6f\xc8" +
	"\x8a\x8c\x90\x94\x96\x9d\x9a\x98\x96\x9e\x9c\x9b\x96\x9f\xa1\x9e" +
	"\x9c\xa6\xa4\xa3\x8d\x9e\x9c\x9d\x9a\x9b\x9a\xa6\x99\x9d\xa1\xa1" +
	"\x61\x9d\xa3\xa5\x9c\xa0\x9d\x99\x9b\x9e\x9f\xa6\xa1\x9e\x7b\x99" +
	"\x98\x9e\xa1\xa1\x9c\x9d\xa1\xa3\x94\x9c\x9b\x9c\x93\x99\x9a\x9e" +
	"\xc8\xc8\x60\x94\xae\xb4\xc8\xc8\xc8\xc8\xc8\xc8\xc0\xc8\xb4\xc7" +
	"\x8c\x96\xc8\xc8\xc8\xc8\xc8\xc8\x95\x97\xb7\xb2\xc8\xc8\xc8\xc8" +
	"\xa7\xc8\x8c\x88\x93\x8a\x8e\x91\x95\x9a\xa7\x98\x96\xa2\xc8\x9d" +
	"\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8\xc8"

// frequencies are the estimated shares of the bytes in a text.
type frequencies [256]float32

const (
	samples    = 32  // places of a text that are looked at
	sampleSize = 128 // bytes at each
	minSampled = 64 << 10
)

// priorFrequencies are those of logs in general.
func priorFrequencies() *frequencies {
	f := &frequencies{}
	for b := range f {
		f[b] = float32(math.Exp2(-float64(rarity[b]) / 8))
	}
	return f
}

// sample estimates the frequencies in text, of at least minSampled bytes: three parts of what it sees in places
// all over it to one of prior, for what it misses. Digits alone differ by a factor of ten between logs.
func (f *frequencies) sample(text []byte, prior *frequencies) {
	var counts [256]uint32
	step := (len(text) - sampleSize) / (samples - 1)
	for i := range samples {
		for _, b := range text[i*step : i*step+sampleSize] {
			counts[b]++
		}
	}
	for b := range f {
		f[b] = prior[b]/4 + float32(counts[b])*(0.75/(samples*sampleSize))
	}
}

// letter is how often one of the forms of a letter stands in the text.
func (f *frequencies) letter(l *letter) float32 {
	var sum float32
	if l.narrow {
		sum = f[l.lower]
		if l.upper != l.lower {
			sum += f[l.upper]
		}
	}
	for _, form := range l.wide {
		sum += f[form[0]] // by which a form is found
	}
	return sum
}

// bits estimates how rare a needle is: it stands at one of 2^bits places. Letters of a word depend on each
// other (a letter of English text carries one bit rather than five), so only the two rarest count in full.
func (f *frequencies) bits(n *needle) float64 {
	var sum, first, second float64
	add := func(share float32) {
		b := -math.Log2(float64(share))
		sum += b
		if b > first {
			first, second = b, first
		} else if b > second {
			second = b
		}
	}
	for _, b := range n.text {
		add(f[b])
	}
	for i := range n.letters {
		add(f.letter(&n.letters[i]))
	}
	return first + second + (sum-first-second)/4
}
