package images

import (
	"slices"
	"testing"
)

// TestSplitCommand takes command lines apart as Microsoft's documentation of the C runtime has it.
func TestSplitCommand(t *testing.T) {
	for line, want := range map[string][]string{
		`"a b c" d e`: {"a b c", "d", "e"}, `"ab\"c" "\\" d`: {`ab"c`, `\`, "d"}, `a\\\b d"e f"g h`: {`a\\\b`, "de fg", "h"},
		`a\\\"b c d`: {`a\"b`, "c", "d"}, `a\\\\"b c" d e`: {`a\\b c`, "d", "e"}, `a"b"" c d`: {`ab" c d`}, "": nil, " \t ": nil, `""`: {""},
	} {
		if got := splitCommand(line); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
