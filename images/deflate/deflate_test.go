package deflate

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand"
	"os"
	"strings"
	"testing"
)

// compress is data in pieces of a size, each but the last ended at a byte.
func compress(e *Encoder, data []byte, size int) []byte {
	var out []byte
	for at := 0; ; at += size {
		end := min(at+size, len(data))
		from := max(0, at-Window)
		out = e.Encode(out, data[from:end], at-from, end == len(data))
		if end == len(data) {
			return out
		}
	}
}

// check compares data with what comes of its compression, and gives the size of that.
func check(t *testing.T, e *Encoder, data []byte, size int) int {
	t.Helper()
	out := compress(e, data, size)
	r := bytes.NewReader(out)
	got, err := io.ReadAll(flate.NewReader(r))
	if err != nil || !bytes.Equal(got, data) || r.Len() > 0 {
		t.Fatalf("%d bytes in pieces of %d became %d, %d left, equal: %v: %v", len(data), size, len(got), r.Len(), bytes.Equal(got, data), err)
	}
	return len(out)
}

// TestEncode compresses data of many kinds, and has the standard library read it.
func TestEncode(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	noise := make([]byte, 300000)
	random.Read(noise)
	fibonacci := []byte{} // counts that make the longest codes
	for i, a, b := 0, 1, 1; i < 24; i, a, b = i+1, b, a+b {
		fibonacci = append(fibonacci, bytes.Repeat([]byte{byte(i)}, a)...)
	}
	random.Shuffle(len(fibonacci), func(i, j int) { fibonacci[i], fibonacci[j] = fibonacci[j], fibonacci[i] })
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	e := new(Encoder)
	for name, data := range map[string][]byte{
		"nothing": {}, "a byte": {7}, "two": {1, 2}, "three": []byte("aaa"), "four": []byte("abcd"),
		"zeros": make([]byte, 1<<20), "a run": bytes.Repeat([]byte("ab"), 400), "noise": noise, "long codes": fibonacci,
		"twice, a window apart": append(append([]byte{}, noise[:Window]...), noise[:Window]...),
		"twice, just too far":   append(append([]byte{}, noise[:Window+1]...), noise[:Window+1]...),
		"text":                  []byte(strings.Repeat("what is there, and what is not; ", 999)),
		"text, then noise":      append([]byte(strings.Repeat("what is there ", 999)), noise[:5000]...), "program": program[:2<<20],
	} {
		for _, size := range []int{1 << 20, 1<<16 - 1, 999} {
			if len(data) <= 1<<20 || size == 1<<20 {
				check(t, e, data, size)
			}
		}
		if again := check(t, e, data, 1<<20); again != check(t, new(Encoder), data, 1<<20) {
			t.Errorf("%s: what comes out depends on what was before", name)
		}
	}
	if size := check(t, e, noise, 1<<20); size > len(noise)+100 {
		t.Errorf("noise grows to %d bytes", size)
	}
}

// TestSize compares with the standard library, which uses no repetitions of three bytes.
func TestSize(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program = program[:2<<20]
	var other bytes.Buffer
	w, err := flate.NewWriter(&other, 9)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(program)
	w.Close()
	if size := check(t, new(Encoder), program, 1<<20); size > other.Len() {
		t.Errorf("%d bytes, compress/flate makes %d", size, other.Len())
	}
}

func FuzzEncode(f *testing.F) {
	f.Add([]byte("abcabcabcabcdabcd"), 5, 3)
	f.Fuzz(func(t *testing.T, data []byte, size, times int) {
		check(t, new(Encoder), bytes.Repeat(data, 1+times&15), 1+size&0xfff)
	})
}

func BenchmarkEncode(b *testing.B) {
	name := os.Getenv("WINBOX_BENCH_FILE")
	if name == "" {
		name = "/proc/self/exe"
	}
	data, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	e := new(Encoder)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		b.ReportMetric(float64(len(compress(e, data, 1<<20))), "bytes")
	}
}
