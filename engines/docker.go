package engines

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// An object is where a JSON object has its braces and members, as offsets.
type object struct {
	open, end int // of the first brace, behind the last one
	members   []member
}

// A member is where a member of an object has its name and value.
type member struct {
	name              string
	start, value, end int
}

// find gives the index of the member of a name, -1 for none. encoding/json, with which engines read, ignores case.
func (o *object) find(name string) (int, error) {
	found := -1
	for i, m := range o.members {
		if strings.EqualFold(m.name, name) {
			if found >= 0 {
				return 0, fmt.Errorf("%q is there twice", name)
			}
			found = i
		}
	}
	return found, nil
}

// parseObject reads the object that begins at an offset of a text.
func parseObject(text []byte, at int) (*object, error) {
	at += skip(text[at:])
	if at == len(text) || text[at] != '{' {
		return nil, errors.New("is not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(text[at:]))
	offset := func() int { return at + int(d.InputOffset()) }
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	o := &object{open: at}
	for last := offset(); d.More(); last = offset() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{start: last + skip(text[last:]), name: name.(string)}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		m.end = offset()
		m.value = m.end - len(value)
		o.members = append(o.members, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	o.end = offset()
	return o, nil
}

// skip is the number of bytes of white space and commas.
func skip(text []byte) int { return len(text) - len(bytes.TrimLeft(text, " \t\r\n,")) }

// parseFile reads a file that is one object.
func parseFile(text []byte) (*object, error) {
	var any json.RawMessage
	if err := json.Unmarshal(text, &any); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line := 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
			err = fmt.Errorf("line %d: %w", line, err)
		}
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	o, err := parseObject(text, 0)
	if err != nil {
		return nil, fmt.Errorf("it %w", err)
	}
	return o, nil
}

// newDocker is the file when there was none.
func newDocker(runtime string) []byte {
	return []byte("{\n\t\"runtimes\": {\n\t\t\"winbox\": {\n\t\t\t\"path\": " + quote(runtime) + "\n\t\t}\n\t}\n}\n")
}

func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string always can be
	return strings.TrimSuffix(b.String(), "\n")
}

// docker is what is of interest in a daemon.json.
type docker struct {
	top, runtimes   *object // runtimes is nil when there is none
	nth, runtimeNth int     // of "runtimes" in top, of winbox in that; -1 for none
	path            string  // of winbox
}

func readDocker(text []byte) (d *docker, err error) {
	d = &docker{runtimeNth: -1}
	if d.top, err = parseFile(text); err != nil {
		return nil, err
	}
	if d.nth, err = d.top.find("runtimes"); err != nil || d.nth < 0 {
		return d, err
	}
	if d.runtimes, err = parseObject(text, d.top.members[d.nth].value); err != nil {
		return nil, fmt.Errorf(`"runtimes" %w`, err)
	}
	if d.runtimeNth, err = d.runtimes.find(Name); err != nil || d.runtimeNth < 0 {
		return d, err
	}
	m := d.runtimes.members[d.runtimeNth]
	var entry struct{ Path string }
	if json.Unmarshal(text[m.value:m.end], &entry) != nil || entry.Path == "" {
		return nil, errors.New(`the runtime "winbox" in "runtimes" has no "path": change it by hand`)
	}
	d.path = entry.Path
	return d, nil
}

func addDocker(f *file) ([]byte, error) {
	if len(bytes.TrimSpace(f.text)) == 0 {
		return newDocker(f.runtime), nil
	}
	d, err := readDocker(f.text)
	if err != nil || d.path == f.runtime {
		return f.text, err
	}
	if d.path != "" {
		entry, err := parseObject(f.text, d.runtimes.members[d.runtimeNth].value)
		if err != nil {
			return nil, err
		}
		i, err := entry.find("path")
		if err != nil {
			return nil, err
		}
		return splice(f.text, entry.members[i].value, entry.members[i].end, quote(f.runtime)), nil
	}
	// What is to be inserted, with a tab for each level and a line for each member.
	into, lines := d.runtimes, "\"winbox\": {\n\t\"path\": "+quote(f.runtime)+"\n}"
	if into == nil {
		into, lines = d.top, "\"runtimes\": {\n\t"+strings.ReplaceAll(lines, "\n", "\n\t")+"\n}"
	}
	return insert(f.text, into, lines), nil
}

func splice(text []byte, from, to int, with string) []byte {
	return append(append(append([]byte(nil), text[:from]...), with...), text[to:]...)
}

// insert adds a member at the end of an object, written as those are that are there: in lines of their own, indented as
// the last one, or all in one line.
func insert(text []byte, o *object, lines string) []byte {
	newline := "\n"
	if bytes.Contains(text, []byte("\r\n")) {
		newline = "\r\n"
	}
	outer := indent(text, o.open)
	if len(o.members) == 0 {
		unit := "    "
		if outer != "" && outer[0] == '\t' {
			unit = "\t"
		}
		body := newline + outer + unit + lay(lines, newline, outer+unit, unit) + newline + outer
		return splice(text, o.open+1, o.end-1, body)
	}
	last := o.members[len(o.members)-1]
	if !bytes.Contains(text[o.open:last.start], []byte("\n")) {
		one := strings.NewReplacer("\n", "", "\t", "").Replace(lines)
		return splice(text, last.end, last.end, ", "+one)
	}
	inner := indent(text, last.start)
	unit := strings.TrimPrefix(inner, outer)
	if unit == "" {
		unit = "    "
	}
	return splice(text, last.end, last.end, ","+newline+inner+lay(lines, newline, inner, unit))
}

// lay writes lines that have a tab for each level: the first where it is, the others behind an indentation.
func lay(lines, newline, indent, unit string) string {
	return strings.ReplaceAll(strings.ReplaceAll(lines, "\t", unit), "\n", newline+indent)
}

// indent is the white space at the beginning of the line that has an offset.
func indent(text []byte, at int) string {
	line := text[bytes.LastIndexByte(text[:at], '\n')+1 : at]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

func removeDocker(f *file) ([]byte, error) {
	if len(bytes.TrimSpace(f.text)) == 0 {
		return f.text, nil
	}
	d, err := readDocker(f.text)
	if err != nil || d.path == "" {
		return f.text, err
	}
	var settings map[string]any
	if err := json.Unmarshal(f.text, &settings); err != nil {
		return nil, err
	}
	if settings["default-runtime"] == Name {
		return nil, errors.New(`"default-runtime" is winbox: change that first, or docker would not start`)
	}
	switch {
	case bytes.Equal(f.text, newDocker(d.path)):
		return nil, nil
	case len(d.runtimes.members) == 1:
		return cut(f.text, d.top, d.nth), nil
	default:
		return cut(f.text, d.runtimes, d.runtimeNth), nil
	}
}

// cut takes a member out of an object, with its comma.
func cut(text []byte, o *object, i int) []byte {
	switch {
	case i > 0:
		return splice(text, o.members[i-1].end, o.members[i].end, "")
	case len(o.members) > 1:
		return splice(text, o.members[0].start, o.members[1].start, "")
	default:
		return splice(text, o.open+1, o.end-1, "")
	}
}
