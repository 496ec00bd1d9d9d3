package pe_test

import (
	"bytes"
	"testing"

	"winbox/preload/pe"
)

// FuzzOpen opens arbitrary bytes and runs every directory parser on what opens.
// Its seeds are in testdata/fuzz; see TestSeedCorpus.
func FuzzOpen(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		sniffed := pe.Sniff(bytes.NewReader(b))
		img, err := open(b)
		if err != nil {
			if img != nil || err.Error() == "" {
				t.Fatal("an image together with an error, or an error without a message")
			}
			return
		}
		if !sniffed {
			t.Error("opened, but not sniffed")
		}
		if len(img.Sections) > pe.MaxSections {
			t.Errorf("%d sections", len(img.Sections))
		}
		img.Signed()
		for _, parse := range everyParser {
			if _, err := parse(img); err != nil && err.Error() == "" {
				t.Error("an error without a message")
			}
		}
	})
}
