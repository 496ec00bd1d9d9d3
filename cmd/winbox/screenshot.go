package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"winbox/oci"
	"winbox/sandbox"
	"winbox/wine"
	"winbox/wine/x11"
)

// screenshotPatience is how long a display's server may take. It answers in
// milliseconds, unless the container has stopped it.
const screenshotPatience = 20 * time.Second

func screenshotCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "screenshot",
		Usage: "copy what is on a container's virtual display into a PNG file",
		Description: `FILE is replaced when the picture is whole; "-" is standard output. The
container has been launched with --display virtual, or made with the annotation
io.winbox.display.

    winbox launch --display virtual=800x600 notepad &
    winbox screenshot notepad-1d32cfb8 notepad.png`,
		ArgsUsage: "ID FILE",
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return errors.New("screenshot: two arguments are needed, the container's ID and the file to write")
			}
			ct, err := sandbox.Load(g.root, c.Args().First())
			if err != nil {
				return fmt.Errorf("screenshot: %w", err)
			}
			data, err := screenshot(c.Context, ct)
			if err != nil {
				return fmt.Errorf("screenshot: container %s: %w", ct.ID(), err)
			}
			if c.Args().Get(1) == "-" {
				_, err = c.App.Writer.Write(data)
			} else {
				err = replaceFile(c.Args().Get(1), data)
			}
			if err != nil {
				return fmt.Errorf("screenshot: %w", err)
			}
			return nil
		},
	}
}

// screenshot makes the picture of a container's display, as PNG.
func screenshot(ctx context.Context, ct *sandbox.Container) ([]byte, error) {
	display, err := wine.DisplayOf(ct.State().Annotations)
	if err != nil {
		return nil, err
	}
	if display.Kind != wine.DisplayVirtual || !ct.Windows() || len(ct.Scratch()) == 0 {
		return nil, errors.New("has no virtual display (winbox launch --display virtual)")
	}
	switch ct.Status() {
	case oci.Running:
	case oci.Paused:
		return nil, errors.New("is paused, and its display's server with it: resume it first")
	default:
		return nil, sandbox.ErrNotRunning
	}
	ctx, cancel := context.WithTimeout(ctx, screenshotPatience)
	defer cancel()
	conn, err := wine.Scratch(ct.Scratch()[0]).DialDisplay(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(screenshotPatience)); err != nil {
		return nil, err
	}
	img, err := x11.Capture(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fmt.Errorf("the display's server has not answered in %s", screenshotPatience)
	}
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// replaceFile writes a file that appears, whole, in the place of one that may be there.
func replaceFile(name string, data []byte) error {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() { // a device or a pipe is written to, a folder refused
		return os.WriteFile(name, data, 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
