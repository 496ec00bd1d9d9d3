package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// kinds are what files of an application are: how much of 16 files, and what their content is made by.
var kinds = []struct {
	share     int
	extension string
	fill      func(g *generator, block []byte)
}{
	{8, "js", (*generator).text},
	{5, "dll", (*generator).code},
	{3, "png", (*generator).media},
}

// A generator makes content, the same every time.
type generator struct {
	*rand.Rand
	words [4096][]byte
	ops   [512][]byte
}

func newGenerator() *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(500, 20000))}
	for i := range g.words {
		word := make([]byte, 2+g.IntN(4)+g.IntN(6))
		for j := range word {
			word[j] = "etaoinshrdlcumwfgypbvk"[min(g.IntN(22), g.IntN(22))]
		}
		g.words[i] = word
	}
	for i := range g.ops {
		op := make([]byte, 2+g.IntN(5))
		for j := range op {
			op[j] = byte(g.Uint32())
		}
		g.ops[i] = op
	}
	return g
}

// rare gives a number below n, the smaller the more often, as words are in texts (Zipf's law).
func (g *generator) rare(n int) int { return int(math.Exp(g.Float64()*math.Log(float64(n+1)))) - 1 }

// text compresses to a third or less.
func (g *generator) text(block []byte) {
	for at, line := 0, 0; at < len(block); {
		at += copy(block[at:], g.words[g.rare(len(g.words))])
		if line++; line%9 == 0 {
			at += copy(block[at:], "();\n\t\t"[:4+g.IntN(3)])
		} else {
			at += copy(block[at:], " .,=(+"[g.IntN(6):][:1])
		}
	}
}

// code compresses to about a half: instructions with addresses.
func (g *generator) code(block []byte) {
	for at := 0; at < len(block); {
		at += copy(block[at:], g.ops[g.rare(len(g.ops))])
		if g.IntN(3) == 0 {
			var address [4]byte
			binary.LittleEndian.PutUint32(address[:], uint32(g.rare(1<<20)))
			at += copy(block[at:], address[:])
		}
	}
}

// media does not compress.
func (g *generator) media(block []byte) {
	for at := 0; at < len(block); at += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], g.Uint64())
		copy(block[at:], word[:])
	}
}

// program is what is run of the application.
const program = `int main(void) { return 0; }`

// The application has so many files for each MiB of its size, most of them small, and large ones that make up the size.
const (
	filesOfMiB = 40
	largeFiles = 20
	folders    = 1000
)

// makeApp makes an application of so many MiB in a folder, unless there is one.
func makeApp(dir string, size int) error {
	done := filepath.Join(dir, "done")
	if text, err := os.ReadFile(done); err == nil && string(text) == strconv.Itoa(size) {
		return nil
	}
	app := filepath.Join(dir, "app")
	if err := os.RemoveAll(app); err != nil {
		return err
	}
	if err := os.MkdirAll(app, 0o755); err != nil {
		return err
	}
	source := filepath.Join(dir, "app.c")
	if err := os.WriteFile(source, []byte(program), 0o644); err != nil {
		return err
	}
	out, err := exec.Command("x86_64-w64-mingw32-gcc", "-O2", "-s", "-o", filepath.Join(app, "app.exe"), source).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build app.exe: %w: %s (Debian package gcc-mingw-w64-x86-64)", err, out)
	}
	g := newGenerator()
	left, files := int64(size)<<20, size*filesOfMiB
	for i := range files - 1 {
		kind := kinds[2]
		for at, j := i%16, 0; j < len(kinds); j++ {
			if at -= kinds[j].share; at < 0 {
				kind = kinds[j]
				break
			}
		}
		bytes := int64(200 * math.Exp(g.Float64()*math.Log(500))) // up to 100 KB, 16 KB on average
		if i >= files-1-largeFiles {
			bytes = left / int64(files-1-i)
		}
		left -= bytes
		folder := i % folders
		name := filepath.Join(app, fmt.Sprintf("part%02d/group%02d/file%05d.%s", folder/32, folder%32, i, kind.extension))
		if err := g.file(name, bytes, kind.fill); err != nil {
			return err
		}
	}
	return os.WriteFile(done, []byte(strconv.Itoa(size)), 0o644)
}

// file writes a file.
func (g *generator) file(name string, size int64, fill func(*generator, []byte)) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	block := make([]byte, 64<<10)
	for size > 0 {
		part := block[:min(size, int64(len(block)))]
		fill(g, part)
		if _, err := w.Write(part); err != nil {
			return err
		}
		size -= int64(len(part))
	}
	return w.Flush()
}
