package leanjson

import "bytes"

// Find finds the value at a path of object keys in JSON text, without reading more
// than where values begin and end: data[start:end] is its text. ok is false if there
// is none, and if a reader might see another one: a key on the path that occurs
// twice, or keys with escapes.
//
// The text need not be valid JSON. If it is found to be valid with any value in the
// place of data[start:end], then that is the place of the path.
func Find(data []byte, path ...string) (start, end int, ok bool) {
	f := finder{data: data}
	start, end = f.find(path)
	return start, end, !f.failed && end > 0
}

// finder steps through JSON text.
type finder struct {
	data   []byte
	at     int
	failed bool
}

// find looks through the object that begins here for the first key of path, and
// ends behind the object. end is 0 if there is none.
func (f *finder) find(path []string) (start, end int) {
	if f.next() != '{' {
		f.failed = true
		return 0, 0
	}
	f.at++
	for first := true; f.next() != '}' && !f.failed; first = false {
		if !first {
			f.expect(',')
		}
		key := f.key()
		f.expect(':')
		f.next()
		switch {
		case string(key) != path[0]:
			f.skip()
		case end > 0:
			f.failed = true
		case len(path) == 1:
			start = f.at
			f.skip()
			end = f.at
		default:
			start, end = f.find(path[1:])
		}
	}
	f.at++
	return start, end
}

// next is the next byte that is not white space, 0 at the end.
func (f *finder) next() byte {
	for ; f.at < len(f.data); f.at++ {
		switch c := f.data[f.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	f.failed = true
	return 0
}

// expect steps over a byte.
func (f *finder) expect(c byte) {
	if f.next() != c {
		f.failed = true
	}
	f.at++
}

// key steps over a string without escapes.
func (f *finder) key() []byte {
	f.expect('"')
	if f.failed {
		return nil
	}
	n := bytes.IndexByte(f.data[f.at:], '"')
	if n < 0 || bytes.IndexByte(f.data[f.at:f.at+n], '\\') >= 0 {
		f.failed = true
		return nil
	}
	key := f.data[f.at : f.at+n]
	f.at += n + 1
	return key
}

// skip steps over the value that begins here.
func (f *finder) skip() {
	for depth := 0; f.at < len(f.data); f.at++ {
		switch f.data[f.at] {
		case '"':
			f.skipString()
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return // it was a number or a word
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			f.at++
			return
		}
	}
	f.failed = true
}

// skipString goes to the end of the string that begins here.
func (f *finder) skipString() {
	for f.at++; f.at < len(f.data) && f.data[f.at] != '"'; f.at++ {
		if f.data[f.at] == '\\' {
			f.at++
		}
	}
}
