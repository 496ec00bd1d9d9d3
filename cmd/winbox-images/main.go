// Winbox-images does for winbox, which runs it, what concerns images and the configuration of engines: it is a program of
// its own because what talks to registries and reads TOML would cost every start of winbox time.
//
//	winbox-images REQUEST
//
// carries out a [request.Request], which is JSON: the verbs of `winbox image`, and `winbox setup`.
//
//	winbox-images unpack IMAGE DIR
//
// unpacks the image of an OCI layout, an archive or a registry into the new folder DIR, writes lines "DONE TOTAL" while it
// does, and at last the image's labels as JSON: `winbox runtime install` runs it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"winbox/images"
	"winbox/images/layer"
	"winbox/images/request"
	"winbox/images/store"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	// Layers go through in blocks: more memory would not make it faster.
	debug.SetMemoryLimit(80 << 20)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if len(args) == 3 && args[0] == "unpack" {
		if err := unpack(ctx, args[1], args[2], stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		return 0
	}
	var r request.Request
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &r) != nil {
		fmt.Fprintln(stderr, "winbox-images is run by winbox: see `winbox image --help`")
		return 2
	}
	if r.Verb == "setup" {
		if err := setup(&r, stdout, stderr); err != nil {
			fmt.Fprintf(stderr, "winbox: setup %s: %s\n", r.Args[0], strings.ReplaceAll(err.Error(), "\n", "; "))
			return 1
		}
		return 0
	}
	c := &command{Request: r, ctx: ctx, store: store.Open(r.DataRoot), stdin: stdin, stdout: stdout, stderr: stderr}
	if err := c.run(); err != nil {
		c.bar.done()
		if ctx.Err() != nil {
			err = fmt.Errorf("image %s: interrupted", r.Verb)
		}
		fmt.Fprintf(stderr, "winbox: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		return 1
	}
	return 0
}

func unpack(ctx context.Context, image, to string, stdout io.Writer) error {
	labels, err := images.Unpack(ctx, image, to, layer.DefaultLimits, func(done, total int) {
		fmt.Fprintf(stdout, "%d %d\n", done, total)
	})
	if err != nil {
		return err
	}
	if labels == nil {
		labels = map[string]string{}
	}
	return json.NewEncoder(stdout).Encode(labels)
}
