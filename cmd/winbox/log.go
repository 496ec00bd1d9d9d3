package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// logHandler writes the lines that engines parse, in the two forms of runc's
// log (logrus): time, level and msg, quoted where they hold more than a word.
type logHandler struct {
	mu    sync.Mutex
	out   io.Writer
	json  bool
	level slog.Level
	// hold keeps back what is no error until the command has ended: podman
	// reads a log file that must hold one object only, the error.
	hold bool
	held bytes.Buffer
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	fields := []struct{ name, value string }{{"level", levelName(r.Level)}, {"msg", r.Message}, {"time", r.Time.UTC().Format(time.RFC3339)}}
	if !h.json {
		fields[0], fields[1], fields[2] = fields[2], fields[0], fields[1]
	}
	r.Attrs(func(a slog.Attr) bool {
		fields = append(fields, struct{ name, value string }{a.Key, a.Value.String()})
		return true
	})
	var line bytes.Buffer
	for i, f := range fields {
		switch {
		case !h.json && i == 0:
			line.WriteString(f.name + "=" + quoteWord(f.value))
		case !h.json:
			line.WriteString(" " + f.name + "=" + quoteWord(f.value))
		default:
			value, err := json.Marshal(f.value)
			if err != nil {
				return err
			}
			fmt.Fprintf(&line, "%c%q:%s", "{,"[min(i, 1)], f.name, value)
		}
	}
	if h.json {
		line.WriteByte('}')
	}
	line.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hold && r.Level < slog.LevelError {
		h.held.Write(line.Bytes())
		return nil
	}
	_, err := h.out.Write(line.Bytes())
	return err
}

// WithAttrs and WithGroup are for loggers that winbox does not make.
func (h *logHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *logHandler) WithGroup(string) slog.Handler      { return h }

// release writes what was kept back, to the log or, after an error, to another place.
func (h *logHandler) release(to io.Writer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = false
	h.held.WriteTo(to)
}

// levelName is logrus's name of a level.
func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warning"
	case level >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}

// quoteWord quotes a value of the text form unless it is a plain word.
func quoteWord(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._/@^+", r))
	}) < 0
	if plain {
		return s
	}
	return strconv.Quote(s)
}
