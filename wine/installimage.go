package wine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// ImageLabel is the label of an image that is a runtime of winbox's making: the digest of its tree. Such an image is
// taken as it is.
const ImageLabel = "io.winbox.runtime"

// unpacker is the program that unpacks images. It lies beside winbox.
const unpacker = "winbox-images"

// FindUnpacker gives the path of the program that unpacks images.
//
// # Errors
//
// It is not there, and how it gets there.
func FindUnpacker() (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	file := filepath.Join(filepath.Dir(own), unpacker)
	if !isFile(file) {
		return "", fmt.Errorf("the program %s, which unpacks images, is not beside winbox in %s: install it there (make install)", unpacker, filepath.Dir(own))
	}
	return file, nil
}

// unpackImage unpacks an image into the new folder `to` and gives its labels. What is half unpacked ends with its folder.
func unpackImage(ctx context.Context, image, to string, say func(int, string)) (labels map[string]string, err error) {
	program, err := FindUnpacker()
	if err != nil {
		return nil, err
	}
	say(stepDownload, "unpacking the image")
	cmd := exec.CommandContext(ctx, program, "unpack", image, to)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's signals are winbox's to pass on
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var last string
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		last = lines.Text()
		if done, total, ok := strings.Cut(last, " "); ok && !strings.HasPrefix(last, "{") {
			say(stepExtract, "unpacking layer "+done+" of "+total)
		}
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if text := strings.TrimSpace(said.String()); text != "" {
			return nil, errors.New(text)
		}
		return nil, fmt.Errorf("%s: %w", unpacker, err)
	}
	if err := json.Unmarshal([]byte(last), &labels); err != nil {
		return nil, fmt.Errorf("%s: %w", unpacker, err)
	}
	return labels, nil
}
