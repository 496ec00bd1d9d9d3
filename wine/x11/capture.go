package x11

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"io"
)

// maxPixels is what a screen may have at most: 4096 by 4096.
const maxPixels = 1 << 24

// le is the order of bytes that the client asks for.
var le = binary.LittleEndian

// errServer says that what the server has sent is not the protocol.
var errServer = errors.New("the display's server does not speak the X protocol as it should")

// Capture copies the root window of a server's first screen, with all that is to be seen on it. conn is a connection on
// which nothing has been said yet.
//
// # Errors
//
// The server refuses the client, says something else than the protocol has, has a screen of more than 16 million pixels,
// or one whose pixels are not of 16 or 32 bits with a mask for each colour.
func Capture(conn io.ReadWriter) (*image.RGBA, error) {
	// No name and no data for authorization: the server of a container lets in who reaches its socket.
	setup := []byte{'l', 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if _, err := conn.Write(setup); err != nil {
		return nil, fmt.Errorf("ask the display's server for its screen: %w", err)
	}
	in := bufio.NewReader(conn)
	s, err := readSetup(in)
	if err != nil {
		return nil, fmt.Errorf("read the display's screen: %w", err)
	}
	const getImage, zPixmap = 73, 2
	request := []byte{getImage, zPixmap, 5, 0}
	request = le.AppendUint32(request, s.root)
	for _, n := range []int{0, 0, s.width, s.height} {
		request = le.AppendUint16(request, uint16(n))
	}
	request = le.AppendUint32(request, ^uint32(0)) // all planes
	if _, err := conn.Write(request); err != nil {
		return nil, fmt.Errorf("ask the display's server for its pixels: %w", err)
	}
	img, err := s.readImage(in)
	if err != nil {
		return nil, fmt.Errorf("read the display's pixels: %w", err)
	}
	return img, nil
}

// screen is the first screen of a server, and how the pixels of its root window are stored.
type screen struct {
	root          uint32
	width, height int
	depth         byte
	bytes         int // of a pixel
	pad           int // a line is a multiple of so many bytes
	red           channel
	green, blue   channel
}

// channel is where the bits of a colour are in a pixel.
type channel struct {
	shift uint
	max   uint32
}

// newChannel reads a mask, whose bits must be in one piece.
func newChannel(mask uint32) (channel, bool) {
	if mask == 0 {
		return channel{}, false
	}
	c := channel{max: mask}
	for c.max&1 == 0 {
		c.max >>= 1
		c.shift++
	}
	return c, c.max&(c.max+1) == 0 && c.max <= 0xffff
}

func (c channel) value(pixel uint32) byte { return byte(pixel >> c.shift & c.max * 255 / c.max) }

// readSetup reads the answer to the connection setup.
func readSetup(in io.Reader) (*screen, error) {
	head, err := read(in, 8)
	if err != nil {
		return nil, err
	}
	body, err := read(in, 4*int(le.Uint16(head[6:]))) // at most 256 KiB
	if err != nil {
		return nil, err
	}
	switch head[0] {
	case 1:
	case 0:
		return nil, fmt.Errorf("the server refuses the connection: %.100q", body[:min(int(head[1]), len(body))])
	default:
		return nil, errServer
	}
	if len(body) < 32 {
		return nil, errServer
	}
	vendor, screens, formats, order := int(le.Uint16(body[16:])), body[20], int(body[21]), body[22]
	at := 32 + (vendor+3)&^3
	if screens == 0 || order != 0 || at+8*formats+40 > len(body) {
		return nil, errServer
	}
	root := body[at+8*formats:]
	s := &screen{root: le.Uint32(root), width: int(le.Uint16(root[20:])), height: int(le.Uint16(root[22:])), depth: root[38]}
	if s.width == 0 || s.height == 0 || s.width*s.height > maxPixels {
		return nil, fmt.Errorf("a screen of %d by %d pixels is none of a container's", s.width, s.height)
	}
	for format := body[at:]; formats > 0; formats, format = formats-1, format[8:] {
		if format[0] == s.depth {
			s.bytes, s.pad = int(format[1])/8, int(format[2])/8
		}
	}
	if s.bytes != 2 && s.bytes != 4 || s.pad != 1 && s.pad != 2 && s.pad != 4 {
		return nil, errServer
	}
	return s, s.findVisual(le.Uint32(root[32:]), int(root[39]), root[40:])
}

// findVisual finds the visual of the root window, which says where in a pixel the colours are.
func (s *screen) findVisual(id uint32, depths int, list []byte) error {
	for ; depths > 0; depths-- {
		if len(list) < 8 {
			return errServer
		}
		visuals := int(le.Uint16(list[2:]))
		list = list[8:]
		for ; visuals > 0; visuals-- {
			if len(list) < 24 {
				return errServer
			}
			if le.Uint32(list) == id {
				var ok [3]bool
				s.red, ok[0] = newChannel(le.Uint32(list[8:]))
				s.green, ok[1] = newChannel(le.Uint32(list[12:]))
				s.blue, ok[2] = newChannel(le.Uint32(list[16:]))
				if ok != [3]bool{true, true, true} {
					return errServer
				}
				return nil
			}
			list = list[24:]
		}
	}
	return errServer
}

// readImage reads the answer to GetImage. Before it there may be nothing: no event has been asked for.
func (s *screen) readImage(in io.Reader) (*image.RGBA, error) {
	head, err := read(in, 32)
	if err != nil {
		return nil, err
	}
	if head[0] == 0 {
		return nil, fmt.Errorf("the server refuses: error %d", head[1])
	}
	line := (s.width*s.bytes + s.pad - 1) / s.pad * s.pad
	if head[0] != 1 || head[1] != s.depth || uint64(le.Uint32(head[4:]))*4 != uint64(line*s.height+3)&^3 {
		return nil, errServer
	}
	img := image.NewRGBA(image.Rect(0, 0, s.width, s.height))
	row := make([]byte, line)
	for y := range s.height {
		if _, err := io.ReadFull(in, row); err != nil {
			return nil, err
		}
		out := img.Pix[y*img.Stride:][:4*s.width]
		for x := range s.width {
			pixel := uint32(le.Uint16(row[x*s.bytes:]))
			if s.bytes == 4 {
				pixel = le.Uint32(row[x*4:])
			}
			out[4*x], out[4*x+1], out[4*x+2], out[4*x+3] = s.red.value(pixel), s.green.value(pixel), s.blue.value(pixel), 0xff
		}
	}
	return img, nil
}

func read(in io.Reader, n int) ([]byte, error) {
	data := make([]byte, n)
	_, err := io.ReadFull(in, data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("the display's server has closed the connection")
	}
	return data, err
}
