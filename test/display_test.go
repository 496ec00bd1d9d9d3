package test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// windowOf is the program with the window; it is at 40,30 and has 300 by 200 pixels.
func windowOf(t *testing.T, m machine) string {
	t.Helper()
	return m.build(t, "window.exe", "window", "-lgdi32")
}

var (
	windowRed  = color.RGBA{200, 30, 40, 255}
	windowBlue = color.RGBA{20, 60, 220, 255}
	nothing    = color.RGBA{0, 0, 0, 255}
)

// screenshot takes one of a container.
func (b *box) screenshot(id string) image.Image {
	b.t.Helper()
	file := filepath.Join(b.dir, "screen.png")
	if c := b.call("screenshot", id, file).wait(); c.code() != 0 || c.out.Len()+c.err.Len() > 0 {
		b.t.Fatalf("%s: exit code %d, %q, %q", c, c.code(), c.out.String(), c.err.String())
	}
	img, err := png.Decode(strings.NewReader(readFile(b.t, file)))
	if err != nil {
		b.t.Fatal(err)
	}
	return img
}

// hasWindow says whether a picture shows the window, with its text, and nothing around it.
func hasWindow(img image.Image) bool {
	for _, want := range []struct {
		at image.Point
		is color.RGBA
	}{
		{image.Pt(39, 29), nothing}, {image.Pt(40, 30), windowRed}, {image.Pt(189, 229), windowRed}, {image.Pt(190, 30), windowBlue},
		{image.Pt(339, 229), windowBlue}, {image.Pt(340, 230), nothing}, {image.Pt(100, 200), windowRed},
	} {
		if color.RGBAModel.Convert(img.At(want.at.X, want.at.Y)) != want.is {
			return false
		}
	}
	text := 0
	for y := 50; y < 70; y++ {
		for x := 60; x < 110; x++ {
			if r, g, b, _ := img.At(x, y).RGBA(); min(r, g, b) > 0xc000 {
				text++
			}
		}
	}
	return text > 30
}

// awaitWindow waits until a container's display has the window, and checks the size of the screen.
func (b *box) awaitWindow(id string, width, height int) {
	b.t.Helper()
	var img image.Image
	await(b.t, "the window on the display", func() bool {
		img = b.screenshot(id)
		return hasWindow(img)
	})
	if size := img.Bounds().Size(); size != image.Pt(width, height) {
		b.t.Errorf("the picture has %v, want %dx%d", size, width, height)
	}
}

// TestDisplayWindow takes pictures of a window of 64-bit and 32-bit programs, on every kind of runtime.
func TestDisplayWindow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		make  func(*testing.T) *box
		m     machine
		flags []string
	}{
		{"host", newBox, machines[0], nil},
		{"rootless", newBox, machines[0], []string{"--rootless"}},
		{"user", newUserBox, machines[0], nil},
		{"i386", func(t *testing.T) *box { return newRuntimeBox(t, "i386") }, machines[1], nil},
		{"new", func(t *testing.T) *box { return newRuntimeBox(t, "new") }, machines[1], nil},
		{"built 64-bit", func(t *testing.T) *box { return newRuntimeBox(t, "i386") }, machines[0], nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := test.make(t)
			file := writeFile(t, b.dir, "window.exe", []byte(readFile(t, windowOf(t, test.m))))
			c := b.launch(append(test.flags, "--display", "virtual=640x480", file)...)
			c.follow()
			if line := strings.TrimSpace(c.line()); line != "screen 640x480" {
				t.Errorf("the program says %q", line)
			}
			id, _ := b.container()
			b.awaitWindow(id, 640, 480)
			servers := 0
			for _, pid := range b.processes() {
				if name, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm")); string(name) == "Xvfb\n" {
					servers++
				}
			}
			if servers != 1 {
				t.Errorf("%d display servers in the container, want one", servers)
			}
			b.call("kill", id, "KILL").wait()
			if c.wait().code() != 137 {
				t.Errorf("exit code %d after the kill\n%s", c.code(), c.err.String())
			}
		})
	}
}

// TestDisplayNotepad looks at a program of Wine's own, with frame, menu and status bar.
func TestDisplayNotepad(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c := b.launch("--display", "virtual", "--memory", "256m", "notepad")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the container", func() bool { return len(b.containers()) == 1 })
	var id string
	await(t, "notepad", func() bool {
		id = b.containers()[0]
		state := b.call("state", id).wait()
		if !strings.Contains(state.text(), `"running"`) {
			return false
		}
		shot := b.call("screenshot", id, "-").wait()
		if shot.code() != 0 { // not started yet
			return false
		}
		img, err := png.Decode(bytes.NewReader(shot.out.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		colours, white := map[color.Color]bool{}, 0
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				c := color.RGBAModel.Convert(img.At(x, y))
				colours[c] = true
				if c == (color.RGBA{255, 255, 255, 255}) {
					white++
				}
			}
		}
		// The page is white; the icons and the anti-aliased text have many colours.
		return white > 50000 && len(colours) > 20 && img.Bounds().Size() == image.Pt(1024, 768)
	})
	// The display's server counts as the container's.
	if members := strings.Fields(cgroupFile(t, id, "cgroup.procs")); !containsServer(members) {
		t.Errorf("no display server in the control group: %v", members)
	}
	b.call("kill", id, "KILL").wait()
	if c.wait().code() != 137 || c.err.Len() > 0 {
		t.Errorf("exit code %d after the kill, %q", c.code(), c.err.String())
	}
	if _, err := os.Stat(filepath.Join(dataRoot, "containers", id)); !os.IsNotExist(err) {
		t.Errorf("the container's folder is left: %v", err)
	}
}

func containsServer(pids []string) bool {
	for _, pid := range pids {
		if name, _ := os.ReadFile(filepath.Join("/proc", pid, "comm")); string(name) == "Xvfb\n" {
			return true
		}
	}
	return false
}

// TestDisplayEnds: the container ends with its program, whose exit code it has, and not with the display's server.
func TestDisplayEnds(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.run("--display", "virtual", "cmd", "/c", "exit 5").want(5, "")
	b.run("--display", "virtual=64x64x16", "--vnc", filepath.Join(b.dir, "vnc"), "cmd", "/c", "exit 6").want(6, "")
	if left, err := filepath.Glob(filepath.Join(b.dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	// What was set for a display does not stay in a prefix that does.
	prefix := filepath.Join(newDir(t), "prefix")
	for _, test := range []struct{ display, driver string }{{"virtual", "x11"}, {"none", "null"}, {"virtual", "x11"}} {
		b.run("--prefix", prefix, "--display", test.display, "cmd", "/c", "exit 0").want(0, "")
		if text := readFile(t, filepath.Join(prefix, "user.reg")); !strings.Contains(text, `"Graphics"="`+test.driver+`"`) {
			t.Errorf("after --display %s the driver in user.reg is not %s", test.display, test.driver)
		}
	}
}

// TestDisplayVNC types into the program by a VNC client, by a socket and by a port.
func TestDisplayVNC(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			address := filepath.Join(newDir(t), "vnc")
			if network == "tcp" {
				address = freePort(t)
			}
			file := writeFile(t, b.dir, "window.exe", []byte(readFile(t, windowOf(t, machines[0]))))
			c := b.launch("--display", "virtual=640x480", "--vnc", address, file)
			c.follow()
			if line := strings.TrimSpace(c.line()); line != "screen 640x480" {
				t.Errorf("the program says %q", line)
			}
			id, _ := b.container()
			b.awaitWindow(id, 640, 480)
			if network == "unix" {
				if info, err := os.Stat(address); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("the socket: %v, %v", info, err)
				}
			}
			vnc := dialVNC(t, network, address)
			if vnc.width != 640 || vnc.height != 480 {
				t.Errorf("VNC says that the screen is %dx%d", vnc.width, vnc.height)
			}
			if red := vnc.pixel(50, 200); red != windowRed {
				t.Errorf("VNC shows %v where the window is red", red)
			}
			vnc.typeKey('x')
			if line := strings.TrimSpace(c.line()); line != "typed x" {
				t.Errorf("the program says %q", line)
			}
			vnc.typeKey('q')
			if c.wait().code() != 7 || c.err.Len() > 0 {
				t.Errorf("exit code %d, %q", c.code(), c.err.String())
			}
			if _, err := os.Stat(address); !os.IsNotExist(err) {
				t.Errorf("the socket is left: %v", err)
			}
		})
	}
}

// TestDisplayVNCBundle lets a VNC client into a container that an engine would have made, and out when it ends.
func TestDisplayVNCBundle(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	writeFile(t, b.dir, "window.exe", []byte(readFile(t, windowOf(t, machines[0]))))
	id, address := b.id("vnc"), filepath.Join(newDir(t), "vnc")
	bare := b.bare("window.exe")
	bundle := b.bundle(func(s *specs.Spec) {
		bare(s)
		s.Root.Readonly = false
		s.Annotations = map[string]string{"io.winbox.display": "virtual=640x480", "io.winbox.vnc": "true"}
	}, `C:\app\window.exe`)
	c := b.call("run", "--bundle", bundle, id)
	c.follow()
	if line := strings.TrimSpace(c.line()); line != "screen 640x480" {
		t.Errorf("the program says %q", line)
	}
	b.awaitWindow(id, 640, 480)
	share := b.call("vnc", id, address)
	if err := share.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the socket", func() bool { _, err := os.Stat(address); return err == nil })
	if line := b.call("vnc", id, address).wait().wantLine(1); !strings.Contains(line, "exists") {
		t.Errorf("a second one says %q", line)
	}
	vnc := dialVNC(t, "unix", address)
	if red := vnc.pixel(50, 200); vnc.width != 640 || red != windowRed {
		t.Errorf("VNC shows %v where the window is red, %d wide", red, vnc.width)
	}
	vnc.typeKey('q')
	if c.wait().code() != 7 {
		t.Errorf("exit code %d, %q", c.code(), c.err.String())
	}
	share.wait().want(0, "")
	if _, err := os.Stat(address); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	for annotations, says := range map[[2]string]string{{"none", "true"}: "needs io.winbox.display", {"virtual", "yes"}: "neither true nor false"} {
		bundle := b.bundle(func(s *specs.Spec) {
			s.Annotations = map[string]string{"io.winbox.display": annotations[0], "io.winbox.vnc": annotations[1]}
		}, "/box/window.exe")
		if line := b.call("run", "--bundle", bundle, b.id("bad")).wait().wantLine(1); !strings.Contains(line, says) {
			t.Errorf("%v: says %q", annotations, line)
		}
	}
}

// freePort is an address on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// vncClient is as much of a VNC client as it takes (RFC 6143).
type vncClient struct {
	net.Conn
	t             *testing.T
	width, height int
}

func dialVNC(t *testing.T, network, address string) *vncClient {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := &vncClient{Conn: conn, t: t}
	if v := string(c.read(12)); v != "RFB 003.008\n" {
		t.Fatalf("the server says %q", v)
	}
	c.send([]byte("RFB 003.008\n"))
	if kinds := c.read(int(c.read(1)[0])); !bytes.Contains(kinds, []byte{1}) { // no authentication
		t.Fatalf("kinds of security: %v", kinds)
	}
	c.send([]byte{1})
	if result := c.read(4); !bytes.Equal(result, make([]byte, 4)) {
		t.Fatalf("security result %v", result)
	}
	c.send([]byte{1}) // shared
	init := c.read(24)
	c.width, c.height = int(binary.BigEndian.Uint16(init)), int(binary.BigEndian.Uint16(init[2:]))
	c.read(int(binary.BigEndian.Uint32(init[20:])))
	// 32 bits a pixel, red first.
	c.send([]byte{0, 0, 0, 0, 32, 24, 1, 1, 0, 255, 0, 255, 0, 255, 24, 16, 8, 0, 0, 0})
	c.send([]byte{2, 0, 0, 1, 0, 0, 0, 0}) // raw pixels
	return c
}

func (c *vncClient) read(n int) []byte {
	c.t.Helper()
	data := make([]byte, n)
	if _, err := io.ReadFull(c, data); err != nil {
		c.t.Fatalf("VNC: %v", err)
	}
	return data
}

func (c *vncClient) send(data []byte) {
	c.t.Helper()
	if _, err := c.Write(data); err != nil {
		c.t.Fatalf("VNC: %v", err)
	}
}

// pixel asks for one.
func (c *vncClient) pixel(x, y int) color.RGBA {
	c.t.Helper()
	c.send([]byte{3, 0, byte(x >> 8), byte(x), byte(y >> 8), byte(y), 0, 1, 0, 1})
	if head := c.read(16); head[0] != 0 || head[3] != 1 {
		c.t.Fatalf("VNC: not an update of one rectangle: %v", head)
	}
	p := c.read(4)
	return color.RGBA{p[0], p[1], p[2], 255}
}

// typeKey presses a key and lets it go.
func (c *vncClient) typeKey(key byte) {
	c.t.Helper()
	for _, down := range []byte{1, 0} {
		c.send([]byte{4, down, 0, 0, 0, 0, 0, key})
	}
}

// hostDisplay starts an X server that stands for the host's. It asks for a cookie, keeps its screen of 640 by 480 pixels
// in a file, which screen reads, and is gone at the end.
func hostDisplay(t *testing.T) (env []string, screen func() image.Image) {
	t.Helper()
	const sockets = "/tmp/.X11-unix"
	if os.Mkdir(sockets, 0o1777) == nil {
		t.Cleanup(func() { os.Remove(sockets) }) // not when another server has come meanwhile
	}
	dir := newDir(t)
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	authority := []byte{1, 0} // of this host
	for _, field := range []string{hostname, "", "MIT-MAGIC-COOKIE-1", "0123456789abcdef"} {
		authority = append(binary.BigEndian.AppendUint16(authority, uint16(len(field))), field...)
	}
	cookies := writeFile(t, dir, "authority", authority)
	server := exec.Command("Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24", "-fbdir", dir, "-auth", cookies, "-nolisten", "tcp", "-nolisten", "local",
		"-extension", "GLX")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(syscall.SIGTERM) // it removes its socket and its lock
		server.Wait()
	})
	number, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return []string{"DISPLAY=:" + strings.TrimSpace(number), "XAUTHORITY=" + cookies}, func() image.Image {
		return readXWD(t, []byte(readFile(t, filepath.Join(dir, "Xvfb_screen0"))))
	}
}

// readXWD reads the picture of a screen of 32 bits a pixel in the form of XWDFile.h: 25 numbers, a name, colours, pixels.
func readXWD(t *testing.T, data []byte) image.Image {
	t.Helper()
	field := func(n int) int { return int(binary.BigEndian.Uint32(data[4*n:])) }
	width, height, line := field(4), field(5), field(12)
	pixels := data[field(0)+12*field(19):]
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			p := pixels[y*line+4*x:]
			img.SetRGBA(x, y, color.RGBA{p[2], p[1], p[0], 255})
		}
	}
	return img
}

// TestDisplayHost shows a window on a display outside the container, which wants a cookie.
func TestDisplayHost(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	env, screen := hostDisplay(t)
	file := writeFile(t, b.dir, "window.exe", []byte(readFile(t, windowOf(t, machines[0]))))
	b.env = append(b.env, env...)
	c := b.launch("--display", "host", file)
	c.follow()
	if line := strings.TrimSpace(c.line()); line != "screen 640x480" {
		t.Errorf("the program says %q", line)
	}
	await(t, "the window on the host's display", func() bool { return hasWindow(screen()) })
	id, _ := b.container()
	if line := b.call("screenshot", id, "out.png").wait().wantLine(1); !strings.Contains(line, "no virtual display") {
		t.Errorf("a picture of the host's display: %q", line)
	}
	// Another program of the container finds the display as well.
	other := b.call("exec", id, `D:\window.exe`)
	other.follow()
	if line := strings.TrimSpace(other.line()); line != "screen 640x480" {
		t.Errorf("the program in the container says %q", line)
	}
	b.call("kill", id, "KILL").wait()
	c.wait()
	other.wait()
	await(t, "the window's end", func() bool { return !hasWindow(screen()) })
	// Without the cookie, the server lets nobody in.
	b.env = append(b.env, "XAUTHORITY=/nonexistent")
	if c := b.run("--display", "host", file); c.code() != 1 || !strings.Contains(c.text(), "no window") {
		t.Errorf("without the cookie: exit code %d, %q", c.code(), c.text())
	}
	for _, test := range []struct{ display, says string }{
		{"elsewhere:0", "only a display of this host"}, {":0x", "only a display of this host"}, {":65000", "no X server of this host"},
	} {
		b.env = append(b.env, "DISPLAY="+test.display)
		if line := b.run("--display", "host", file).wantLine(failed); !strings.Contains(line, test.says) {
			t.Errorf("DISPLAY=%s: %q does not say %q", test.display, line, test.says)
		}
	}
}

// waylandDisplay starts a compositor that stands for the host's, with a screen of 640 by 480 pixels in memory, of which
// screen takes a picture. It is gone at the end.
func waylandDisplay(t *testing.T) (env []string, screen func() image.Image) {
	t.Helper()
	dir := newDir(t)
	config := writeFile(t, dir, "config", []byte("xwayland disable\ndefault_border none\noutput HEADLESS-1 resolution 640x480\n"))
	runtimeDir := filepath.Join(dir, "run")
	if err := os.Mkdir(runtimeDir, 0o700); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534 // it refuses to be root
	if err := os.Chown(runtimeDir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	compositor := exec.Command("sway", "-c", config)
	compositor.Env = []string{"PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + runtimeDir, "WLR_BACKENDS=headless", "WLR_RENDERER=pixman", "WLR_LIBINPUT_NO_DEVICES=1"}
	compositor.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	var said bytes.Buffer
	compositor.Stderr = &said
	if err := compositor.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		compositor.Process.Kill()
		compositor.Wait()
		if t.Failed() {
			t.Logf("sway: %s", said.String())
		}
	})
	env = []string{"DISPLAY=", "XDG_RUNTIME_DIR=" + runtimeDir, "WAYLAND_DISPLAY=wayland-1"}
	await(t, "the compositor", func() bool {
		_, err := os.Stat(filepath.Join(runtimeDir, "wayland-1"))
		return err == nil
	})
	return env, func() image.Image {
		grim := exec.Command("grim", "-")
		grim.Env = append(os.Environ(), env...)
		picture, err := grim.Output()
		if err != nil {
			return image.NewRGBA(image.Rectangle{})
		}
		img, err := png.Decode(bytes.NewReader(picture))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
}

// TestDisplayWayland shows a window on the host's Wayland display, of a program of each kind.
func TestDisplayWayland(t *testing.T) {
	t.Parallel()
	for _, m := range machines {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			b := newRuntimeBox(t, "i386")
			env, screen := waylandDisplay(t)
			b.env = append(b.env, env...)
			file := writeFile(t, b.dir, "window.exe", []byte(readFile(t, windowOf(t, m))))
			c := b.launch("--display", "host", file)
			c.follow()
			if line := strings.TrimSpace(c.line()); line != "screen 640x480" {
				t.Errorf("the program says %q", line)
			}
			await(t, "the window on the host's display", func() bool {
				img := screen()
				return color.RGBAModel.Convert(img.At(50, 150)) == windowRed && color.RGBAModel.Convert(img.At(250, 150)) == windowBlue
			})
			id, _ := b.container()
			b.call("kill", id, "KILL").wait()
			c.wait()
			if m.name != machines[0].name {
				return
			}
			b.env = append(b.env, "XDG_RUNTIME_DIR=run")
			if line := b.run("--display", "host=wayland", file).wantLine(failed); !strings.Contains(line, "absolute path") {
				t.Errorf("a relative runtime directory: %q", line)
			}
			b.env = append(b.env, "WAYLAND_DISPLAY="+file)
			if line := b.run("--display", "host", file).wantLine(failed); !strings.Contains(line, "not a socket") {
				t.Errorf("no socket: %q", line)
			}
		})
	}
	b := newBox(t)
	env, _ := waylandDisplay(t)
	b.env = append(b.env, env...)
	if line := b.run("--display", "host", "cmd").wantLine(failed); !strings.Contains(line, "--wayland") {
		t.Errorf("a Wine without the driver: %q", line)
	}
}

// TestDisplayBundle takes pictures of containers that an engine would make, as root and as another user.
func TestDisplayBundle(t *testing.T) {
	t.Parallel()
	for name, user := range map[string]specs.User{"root": {}, "user": {UID: 1000, GID: 1000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			writeFile(t, b.dir, "window.exe", []byte(readFile(t, windowOf(t, machines[0]))))
			bare := b.bare("window.exe")
			dir := b.bundle(func(s *specs.Spec) {
				bare(s)
				s.Root.Readonly = false
				s.Process.User = user
				s.Annotations = map[string]string{"io.winbox.display": "virtual=320x240"}
			}, `C:\app\window.exe`)
			id := b.id("display")
			create := b.call("create", "--bundle", dir, id)
			create.Stdout, create.Stderr = nil, nil // the container keeps them
			if create.wait().code() != 0 {
				t.Fatalf("%s: exit code %d", create, create.code())
			}
			defer b.call("delete", "--force", id).wait()
			if c := b.call("screenshot", id, filepath.Join(b.dir, "screen.png")).wait(); c.code() == 0 || !strings.Contains(c.err.String(), "not running") {
				t.Errorf("a picture of a container that has not been started: exit code %d, %q", c.code(), c.err.String())
			}
			if c := b.call("start", id).wait(); c.code() != 0 {
				t.Fatalf("%s: exit code %d\n%s", c, c.code(), c.err.String())
			}
			// It is cut off at the right, where the screen ends.
			await(t, "the window on the display", func() bool {
				img := b.screenshot(id)
				return img.Bounds().Size() == image.Pt(320, 240) && color.RGBAModel.Convert(img.At(40, 30)) == windowRed &&
					color.RGBAModel.Convert(img.At(319, 229)) == windowBlue
			})
		})
	}
}

// TestDisplayErrors asks for what cannot be had.
func TestDisplayErrors(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.env = append(b.env, "DISPLAY=", "WAYLAND_DISPLAY=")
	for _, test := range []struct {
		says  string
		words []string
	}{
		{"screen", []string{"launch", "--display", "virtual=1024", "cmd"}},
		{"not a number", []string{"launch", "--display", "virtual=99999x100", "cmd"}},
		{"from 64 to 4096", []string{"launch", "--display", "virtual=9999x100", "cmd"}},
		{"16 or 24", []string{"launch", "--display", "virtual=640x480x8", "cmd"}},
		{"neither DISPLAY nor WAYLAND_DISPLAY", []string{"launch", "--display", "host", "cmd"}},
		{"WAYLAND_DISPLAY is not set", []string{"launch", "--display", "host=wayland", "cmd"}},
		{"none of none, virtual", []string{"launch", "--display", "printer", "cmd"}},
		{"--display virtual", []string{"launch", "--vnc", "/tmp/vnc", "cmd"}},
		{"127.0.0.1:PORT", []string{"launch", "--display", "virtual", "--vnc", "0.0.0.0:5900", "cmd"}},
		{"127.0.0.1:PORT", []string{"launch", "--display", "virtual", "--vnc", "5900", "cmd"}},
		{"exists", []string{"launch", "--display", "virtual", "--vnc", b.dir + "/.", "cmd"}},
		{"leave out linger", []string{"launch", "--display", "virtual", "--linger", "cmd"}},
		{"two arguments", []string{"screenshot", "x"}},
		{"does not exist", []string{"screenshot", "x", "out.png"}},
	} {
		c := b.call(test.words...).wait()
		if line := c.wantLine(1, failed); !strings.Contains(line, test.says) {
			t.Errorf("%s: %q does not say %q", c, line, test.says)
		}
	}
	// What the server needs for its screen, the container does not have.
	if line := b.run("--memory", "32m", "--display", "virtual=4096x4096", "cmd").wantLine(failed); !strings.Contains(line, "Xvfb ended before it was ready") {
		t.Errorf("a screen of 64 MiB in 32: %q", line)
	}
	c := b.launch(b.program("wait"))
	c.follow()
	c.line()
	id, _ := b.container()
	if line := b.call("screenshot", id, "out.png").wait().wantLine(1); !strings.Contains(line, "no virtual display") {
		t.Errorf("a container without a display: %q", line)
	}
	b.call("kill", id, "KILL").wait()
	c.wait()
	if left, err := filepath.Glob(filepath.Join(b.dir, "*.png*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestDisplayNeeds: without the display's server, the error says what to install.
func TestDisplayNeeds(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for _, test := range []struct {
		hidden string
		flags  []string
		says   string
	}{
		{"/usr/bin/Xvfb", nil, "apt-get install xvfb"},
		{"/usr/bin/xkbcomp", nil, "apt-get install x11-xkb-utils"},
		{"/usr/bin/Xtigervnc", []string{"--vnc", filepath.Join(b.dir, "vnc")}, "apt-get install tigervnc-standalone-server"},
	} {
		// The file is hidden in a mount namespace of the call's own.
		args := append([]string{"launch", "--display", "virtual"}, append(test.flags, "cmd", "/c", "exit")...)
		c := b.call(args...)
		script := `mount --bind /dev/null "$0" && exec "$@"`
		c.Path, c.Args = "/usr/bin/unshare", append([]string{"unshare", "-m", "--propagation", "private", "sh", "-c", script, test.hidden}, c.Args...)
		if line := c.wait().wantLine(failed); !strings.Contains(line, test.says) {
			t.Errorf("without %s: %q does not say %q", test.hidden, line, test.says)
		}
	}
}
