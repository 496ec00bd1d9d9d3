package x11

import (
	"bytes"
	"encoding/binary"
	"image/color"
	"io"
	"strings"
	"testing"
)

// server is what a server sends, and takes what it is told.
type server struct {
	io.Reader
	said bytes.Buffer
}

func (s *server) Write(p []byte) (int, error) { return s.said.Write(p) }

// fake is a server's answers with a screen of 3 by 2 pixels of these bits, whose pixels are given as bytes.
func fake(bits byte, pixels []byte) []byte {
	red, green, blue := uint32(0xff0000), uint32(0xff00), uint32(0xff)
	depth := byte(24)
	if bits == 16 {
		red, green, blue, depth = 0xf800, 0x7e0, 0x1f, 16
	}
	var b []byte
	b = append(b, make([]byte, 16)...)
	b = binary.LittleEndian.AppendUint16(b, 3) // vendor
	b = append(b, 0xff, 0xff, 1, 2, 0, 0, 32, 32, 8, 255, 0, 0, 0, 0)
	b = append(b, 'x', 'y', 'z', 0)
	b = append(b, 1, 1, 32, 0, 0, 0, 0, 0, depth, bits, 32, 0, 0, 0, 0, 0)
	root := make([]byte, 40)
	binary.LittleEndian.PutUint32(root, 0x50d)
	binary.LittleEndian.PutUint16(root[20:], 3)
	binary.LittleEndian.PutUint16(root[22:], 2)
	binary.LittleEndian.PutUint32(root[32:], 0x21)
	root[38], root[39] = depth, 2
	b = append(b, root...)
	b = append(b, 1, 0, 0, 0, 0, 0, 0, 0) // a depth without visuals
	b = append(b, depth, 0, 1, 0, 0, 0, 0, 0)
	visual := make([]byte, 24)
	for i, word := range []uint32{0x21, 4, red, green, blue} {
		binary.LittleEndian.PutUint32(visual[4*i:], word)
	}
	b = append(b, visual...)
	head := []byte{1, 0, 11, 0, 0, 0, 0, 0}
	binary.LittleEndian.PutUint16(head[6:], uint16(len(b)/4))
	reply := make([]byte, 32)
	reply[0], reply[1] = 1, depth
	binary.LittleEndian.PutUint32(reply[4:], uint32((len(pixels)+3)/4))
	return bytes.Join([][]byte{head, b, reply, pixels}, nil)
}

func TestCapture(t *testing.T) {
	for _, test := range []struct {
		bits   byte
		pixels []byte
		want   []color.RGBA
	}{
		{32, []byte{
			1, 2, 3, 0, 0, 0, 255, 9, 255, 255, 255, 0,
			0, 0, 0, 0, 0, 128, 0, 0, 9, 8, 7, 6,
		}, []color.RGBA{{3, 2, 1, 255}, {255, 0, 0, 255}, {255, 255, 255, 255}, {0, 0, 0, 255}, {0, 128, 0, 255}, {7, 8, 9, 255}}},
		// Lines are padded to 8 bytes.
		{16, []byte{
			0x00, 0xf8, 0xe0, 0x07, 0x1f, 0x00, 0, 0,
			0xff, 0xff, 0x00, 0x00, 0x10, 0x00, 0, 0,
		}, []color.RGBA{{255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255}, {255, 255, 255, 255}, {0, 0, 0, 255}, {0, 0, 131, 255}}},
	} {
		s := &server{Reader: bytes.NewReader(fake(test.bits, test.pixels))}
		img, err := Capture(s)
		if err != nil {
			t.Fatalf("%d bits: %v", test.bits, err)
		}
		for i, want := range test.want {
			if got := img.RGBAAt(i%3, i/3); got != want {
				t.Errorf("%d bits: pixel %d is %v, want %v", test.bits, i, got, want)
			}
		}
		// The setup, and GetImage of the root window's 3 by 2 pixels.
		want := "l\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x49\x02\x05\x00\x0d\x05\x00\x00\x00\x00\x00\x00\x03\x00\x02\x00\xff\xff\xff\xff"
		if s.said.String() != want {
			t.Errorf("asked %q", s.said.String())
		}
	}
}

func TestCaptureRefuses(t *testing.T) {
	good := fake(32, make([]byte, 24))
	change := func(at int, value ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], value)
		return b
	}
	const setup, root = 8, 8 + 32 + 4 + 16
	for _, test := range []struct {
		name string
		data []byte
		says string
	}{
		{"nothing", nil, "closed"},
		{"refusal", []byte{0, 2, 11, 0, 0, 0, 1, 0, 'n', 'o', 0, 0}, `refuses the connection: "no"`},
		{"not X", []byte("HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat("x", 1<<20)), "does not speak"},
		{"no screen", change(setup+20, 0), "does not speak"},
		{"vendor beyond the end", change(setup+16, 0xff, 0xff), "does not speak"},
		{"formats beyond the end", change(setup+21, 0xff), "does not speak"},
		{"large", change(root+20, 0xff, 0xff, 0xff, 0xff), "65535 by 65535"},
		{"empty", change(root+20, 0, 0), "0 by 2"},
		{"depths beyond the end", change(root+32, 0x22, 0, 0, 0, 0, 0, 24, 255), "does not speak"},
		{"mask with a hole", change(root+40+8+8+8, 0, 0, 0xf5, 0), "does not speak"},
		{"no mask", change(root+40+8+8+8, 0, 0, 0, 0), "does not speak"},
		{"error", change(root+40+8+8+24, 0, 8), "error 8"},
		{"event", change(root+40+8+8+24, 12), "does not speak"},
		{"short reply", change(root+40+8+8+24+4, 1), "does not speak"},
		{"huge reply", change(root+40+8+8+24+4, 0xff, 0xff, 0xff, 0xff), "does not speak"},
		{"cut off", good[:len(good)-1], "read the display's pixels"},
	} {
		if img, err := Capture(&server{Reader: bytes.NewReader(test.data)}); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, %v; want an error with %q", test.name, img != nil, err, test.says)
		}
	}
}

// FuzzCapture: whatever a server says, there is a picture of the screen's size or an error.
func FuzzCapture(f *testing.F) {
	f.Add(fake(32, make([]byte, 24)))
	f.Add(fake(16, make([]byte, 16)))
	f.Add([]byte{0, 2, 11, 0, 0, 0, 1, 0, 'n', 'o', 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := Capture(&server{Reader: bytes.NewReader(data)})
		if (img == nil) == (err == nil) {
			t.Errorf("%v, %v", img, err)
		}
		if img != nil && len(img.Pix) > 4*maxPixels {
			t.Errorf("%v", img.Rect)
		}
	})
}
