package message

import (
	"strings"
	"unicode/utf8"
)

// This file writes one level of a name in one protocol's spelling and reads it
// back. A level is any byte string; a spelling is a set of characters that may
// not stand for themselves. Such a character is written
//
//	_x<HEX>_      its code point: upper case, two to six digits, no zero in front beyond two
//	_xDC<HEX>_    a byte that is not UTF-8: 80 to FF on the lone surrogates DC80 to DCFF
//	_x5F_         a literal "_", only where the text from it on would read as an escape
//
// and everything that does not read as exactly that is literal. "Reads as an
// escape" is a property of the text from some "_" to the right, so the encoder
// works from right to left and the decoder accepts only what the encoder writes:
// decode(encode(level)) and encode(decode(text)) are both the identity.
//
// Work is linear in the length for any input: chains of _x5F_ are remembered
// rather than followed again.

// A spelling is how one protocol writes levels.
type spelling struct {
	sep     byte      // divides levels when written
	alt     byte      // divides levels when read, besides sep; equal to sep when none
	special [128]bool // ASCII characters that are escaped
	ascii   bool      // every character beyond ASCII is escaped
	text    bool      // only UTF-8 may be written: other bytes are escaped
	max     int       // bytes that the protocol allows for a whole name
}

var (
	mqttSpelling  = newSpelling('/', '/', "/+#\x00", 65535)
	amqpSpelling  = newSpelling('.', '/', "./", AMQPNameMax)
	kafkaSpelling = newSpelling('.', '.', "", KafkaNameMax)
)

func newSpelling(sep, alt byte, special string, limit int) *spelling {
	s := &spelling{sep: sep, alt: alt, max: limit}
	for i := range len(special) {
		s.special[special[i]] = true
	}
	switch s.max {
	case KafkaNameMax:
		s.text, s.ascii = true, true
		for c := range s.special {
			s.special[c] = !kafkaLiteral(byte(c))
		}
	case AMQPNameMax: // a short string holds any bytes
	default:
		s.text = true
	}
	return s
}

func kafkaLiteral(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// transcode appends name, spelled as from, in the spelling to.
func transcode(dst []byte, name string, from, to *spelling) []byte {
	start, checked := len(dst), !to.text
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= utf8.RuneSelf && !checked {
			checked = utf8.ValidString(name[i:])
		}
		switch {
		case c == from.sep || c == from.alt:
			dst = append(dst, to.sep)
		case c == '_' && i+1 < len(name) && name[i+1] == 'x', // may be an escape, or come to read as one
			c < utf8.RuneSelf && to.special[c],
			c >= utf8.RuneSelf && (to.ascii || !checked):
			return transcodeSlow(dst[:start], name, from, to)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func transcodeSlow(dst []byte, name string, from, to *spelling) []byte {
	var rawArray, outArray [256]byte
	raw, out := rawArray[:0], outArray[:]
	for {
		n := 0
		for n < len(name) && name[n] != from.sep && name[n] != from.alt {
			n++
		}
		raw = from.decode(raw[:0], name[:n])
		// A byte grows to at most seven: "_xDCFF_".
		if need := 7 * len(raw); need > len(out) {
			out = make([]byte, need)
		}
		dst = append(dst, to.encode(out, raw)...)
		if n == len(name) {
			return dst
		}
		dst = append(dst, to.sep)
		name = name[n+1:]
	}
}

// decode appends the level that text spells.
func (s *spelling) decode(dst []byte, text string) []byte {
	known, value := 0, false // escapes that start before known are all of one chain, and read as value
	for i := 0; i < len(text); {
		c := text[i]
		if c != '_' {
			dst = append(dst, c)
			i++
			continue
		}
		code, n, ok := parseEscape(text[i:])
		if ok {
			if i >= known {
				known, value = s.chain(text, i)
			}
			ok = value
		}
		switch {
		case !ok:
			dst = append(dst, c)
			i++
		case isByte(code):
			dst = append(dst, byte(code))
			i += n
		default:
			dst = utf8.AppendRune(dst, code)
			i += n
		}
	}
	return dst
}

// chain tells whether the well-formed escape at text[i] reads as one, by following
// _x5F_ from "_" to "_"; all those before end answer the same.
func (s *spelling) chain(text string, i int) (end int, value bool) {
	for {
		code, n, ok := parseEscape(text[i:])
		if !ok {
			return i, false
		}
		if code != '_' {
			return i + 1, s.escapes(code, text[i+n:])
		}
		i += n - 1
	}
}

// escapes tells whether an escape of code, followed by the text rest, is one that
// the encoder writes. Not for "_", which depends on what follows.
func (s *spelling) escapes(code rune, rest string) bool {
	switch {
	case isByte(code):
		return s.text && loneByte(byte(code), rest)
	case code < utf8.RuneSelf:
		return s.special[code]
	default:
		return s.ascii
	}
}

// loneByte tells whether b, followed by the bytes that rest spells, does not begin a
// UTF-8 sequence; if it did, the encoder would have seen a character.
func loneByte(b byte, rest string) bool {
	run := [utf8.UTFMax]byte{b}
	n := 1
	for n < len(run) {
		code, size, ok := parseEscape(rest)
		if !ok || !isByte(code) {
			break
		}
		run[n] = byte(code)
		n++
		rest = rest[size:]
	}
	_, size := utf8.DecodeRune(run[:n])
	return size == 1
}

// encode writes level at the end of buf, which is long enough, and returns what it wrote.
func (s *spelling) encode(buf, level []byte) []byte {
	at := len(buf)                  // buf[at:] is written
	under, reads := len(buf), false // the leftmost "_" written, and whether the text there reads as an escape

	// put writes one "_" and notes how the text from it on reads.
	put := func() {
		was, wasAt := reads, under
		at--
		buf[at] = '_'
		under, reads = at, false
		code, n, ok := parseEscape(buf[at:])
		if !ok {
			return
		}
		if code == '_' {
			// Between its two "_" there is no other: the right one is where reads was taken.
			reads = was && wasAt == at+n-1
			return
		}
		reads = s.escapes(code, string(buf[at+n:min(len(buf), at+n+7*(utf8.UTFMax-1))]))
	}
	escape := func(code rune) {
		put()
		for digits := 0; digits < 2 || code > 0; digits++ {
			at--
			buf[at] = "0123456789ABCDEF"[code&0xF]
			code >>= 4
		}
		at--
		buf[at] = 'x'
		put()
	}

	for len(level) > 0 {
		r, n := utf8.DecodeLastRune(level)
		last := level[len(level)-1]
		level = level[:len(level)-n]
		switch {
		case r == utf8.RuneError && n == 1:
			if s.text {
				escape(0xDC00 | rune(last))
			} else {
				at--
				buf[at] = last
			}
		case r == '_':
			before, beforeUnder, beforeReads := at, under, reads
			if put(); reads {
				at, under, reads = before, beforeUnder, beforeReads
				escape('_')
			}
		case r < utf8.RuneSelf && s.special[r], r >= utf8.RuneSelf && s.ascii:
			escape(r)
		default:
			at -= n
			utf8.EncodeRune(buf[at:], r)
		}
	}
	return buf[at:]
}

// parseEscape reads "_x<HEX>_" at the start of text, in its one well-formed way.
func parseEscape[T string | []byte](text T) (code rune, n int, ok bool) {
	if len(text) < len("_x00_") || text[0] != '_' || text[1] != 'x' {
		return 0, 0, false
	}
	n = 2
	for n < len(text) && n < 2+6 {
		c := text[n]
		switch {
		case '0' <= c && c <= '9':
			code = code<<4 | rune(c-'0')
		case 'A' <= c && c <= 'F':
			code = code<<4 | rune(c-'A'+10)
		default:
			goto done
		}
		n++
	}
done:
	switch {
	case n < 2+2, n == len(text), text[n] != '_', n > 2+2 && text[2] == '0':
		return 0, 0, false
	case !utf8.ValidRune(code) && !isByte(code):
		return 0, 0, false
	}
	return code, n + 1, true
}

func isByte(code rune) bool { return 0xDC80 <= code && code <= 0xDCFF }

// hashedLen is the length of "_h" and the hash that ends a name too long to be spelled.
const hashedLen = 2 + 26

// cut shortens a spelled name to at most limit bytes, splitting neither a character
// nor an escape.
func cut(name []byte, limit int) []byte {
	if len(name) <= limit {
		return name
	}
	for limit > 0 && !utf8.RuneStart(name[limit]) {
		limit--
	}
	head := string(name[:limit])
	if i := strings.LastIndexByte(head, '_'); i >= 0 {
		if _, n, ok := parseEscape(name[i:]); ok && i+n > limit {
			limit = i
		}
	}
	return name[:limit]
}
