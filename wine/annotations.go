package wine

import (
	"fmt"
	"path"

	"winbox/internal/sizes"
	"winbox/preload"
	"winbox/quota"
)

// Annotations of a bundle that winbox reads. All are optional.
const (
	annotationHandler    = "io.winbox.handler"
	annotationBoot       = "io.winbox.boot"
	annotationRuntime    = "io.winbox.runtime"
	annotationEncoding   = "io.winbox.encoding"
	annotationPrefix     = "io.winbox.prefix"
	annotationPipes      = "io.winbox.pipes"
	annotationReserve    = "io.winbox.layout.reserve"
	annotationSharedHeap = "io.winbox.layout.sharedheap"
	annotationStrict     = "io.winbox.layout.strict"
	annotationStop       = "io.winbox.stop"
	annotationDisplay    = "io.winbox.display"
	annotationVNC        = "io.winbox.vnc"
	annotationLinger     = "io.winbox.linger"
	annotationDrives     = "io.winbox.drives"
	annotationDriveC     = "io.winbox.drivec"
	annotationRegistry   = "io.winbox.registry"

	annotationCommit        = "io.winbox.memory.commit"
	annotationProcessCommit = "io.winbox.memory.commit.process"
)

// Annotations lists them, as `winbox features` does.
func Annotations() []string {
	return []string{annotationHandler, annotationBoot, annotationRuntime, annotationPrefix, annotationEncoding, annotationPipes, annotationReserve, annotationSharedHeap, annotationStrict, annotationStop, annotationLinger, annotationDisplay, annotationVNC, annotationDrives, annotationDriveC, annotationRegistry, annotationCommit, annotationProcessCommit}
}

// handler says how the first argument of a container is run.
type handler string

const (
	handlerAuto    handler = "auto"
	handlerWindows handler = "windows"
	handlerLinux   handler = "linux"
)

// readHandler reads the one annotation that every container is asked for.
func readHandler(annotations map[string]string) (handler, error) {
	switch h := handler(annotations[annotationHandler]); h {
	case "":
		return handlerAuto, nil
	case handlerAuto, handlerWindows, handlerLinux:
		return h, nil
	default:
		return "", fmt.Errorf("annotations: %s: %q is none of auto, windows and linux", annotationHandler, string(h))
	}
}

// wishes are what the annotations of a Windows container ask for.
type wishes struct {
	boot     Boot
	stop     Stop
	linger   bool
	encoding Encoding
	pipes    Pipes
	space    Wishes
	display  Display
	drives   []givenDrive
	// driveC shows what the root has on drive C:.
	driveC bool
	// registry is a folder of the root with registry files; empty for none.
	registry string
	// quota has the limits of commit.
	quota quota.Limits
	// prefix is the destination of a mount; empty for a prefix that goes with the container.
	prefix string
}

// readWishes reads the annotations of a Windows container. An unknown value is an error.
func readWishes(annotations map[string]string) (w wishes, err error) {
	bad := func(name, format string, args ...any) error {
		return fmt.Errorf("annotations: %s: %s", name, fmt.Sprintf(format, args...))
	}
	w.prefix = annotations[annotationPrefix]
	if w.prefix != "" && !path.IsAbs(w.prefix) {
		return w, bad(annotationPrefix, "%q is not the destination of a mount, an absolute path such as /prefix", w.prefix)
	}
	w.registry = annotations[annotationRegistry]
	if w.registry != "" && !path.IsAbs(w.registry) {
		return w, bad(annotationRegistry, "%q is not the absolute path of a folder", w.registry)
	}
	w.boot = Boot(annotations[annotationBoot])
	if err := w.boot.check(); err != nil {
		return w, bad(annotationBoot, "%v", err)
	}
	w.encoding = Encoding(annotations[annotationEncoding])
	if err := w.encoding.check(); err != nil {
		return w, bad(annotationEncoding, "%v", err)
	}
	if w.display, err = DisplayOf(annotations); err != nil {
		return w, err
	}
	if w.pipes, err = ParsePipes(annotations[annotationPipes]); err != nil {
		return w, bad(annotationPipes, "%v", err)
	}
	if w.drives, err = parseDrives(annotations[annotationDrives]); err != nil {
		return w, bad(annotationDrives, "%v", err)
	}
	if w.space.Reserve, err = preload.ParseRanges(annotations[annotationReserve]); err != nil {
		return w, bad(annotationReserve, "%v", err)
	}
	if size, set := annotations[annotationSharedHeap]; set {
		if w.space.SharedHeap, err = ParseSharedHeap(size); err != nil {
			return w, bad(annotationSharedHeap, "%v", err)
		}
	}
	for name, to := range map[string]*bool{annotationStrict: &w.space.Strict, annotationLinger: &w.linger, annotationDriveC: &w.driveC} {
		switch value := annotations[name]; value {
		case "", "false":
		case "true":
			*to = true
		default:
			return w, bad(name, "%q is neither true nor false", value)
		}
	}
	for name, to := range map[string]*uint64{annotationCommit: &w.quota.Asked, annotationProcessCommit: &w.quota.ProcessCommit} {
		if value, set := annotations[name]; set {
			if *to, err = quota.ParseCommit(value); err != nil {
				return w, bad(name, "%v", err)
			}
		}
	}
	if w.quota.ProcessCommit == quota.NoCommitLimit {
		w.quota.ProcessCommit = 0
	}
	w.stop = Stop(annotations[annotationStop])
	if err := w.stop.check(); err != nil {
		return w, bad(annotationStop, "%v", err)
	}
	return w, nil
}

// CheckAnnotations refuses what no Windows container can have. Those that are not winbox's are not looked at.
func CheckAnnotations(annotations map[string]string) error {
	_, err := readWishes(annotations)
	return err
}

// DisplayOf is the display of a container with these annotations.
func DisplayOf(annotations map[string]string) (Display, error) {
	d, err := ParseDisplay(annotations[annotationDisplay])
	if err != nil {
		return d, fmt.Errorf("annotations: %s: %w", annotationDisplay, err)
	}
	switch value := annotations[annotationVNC]; {
	case value == "true" && d.Kind == DisplayVirtual:
		d.VNC = true
	case value == "true":
		return d, fmt.Errorf("annotations: %s: needs %s=%s", annotationVNC, annotationDisplay, DisplayVirtual)
	case value != "" && value != "false":
		return d, fmt.Errorf("annotations: %s: %q is neither true nor false", annotationVNC, value)
	}
	return d, nil
}

// ParseSharedHeap reads the size of the shared heap: bytes with or without a unit, 0 for none.
//
// # Errors
//
// A sentence that quotes what is no size, or is more than [preload.MaxSharedHeap].
func ParseSharedHeap(s string) (uint64, error) {
	size, err := sizes.Parse(s)
	switch {
	case err != nil || size < 0:
		return 0, fmt.Errorf("%q is not a size such as 16m", s)
	case size > preload.MaxSharedHeap:
		return 0, fmt.Errorf("%s is too much: at most %s are possible", s, preload.FormatSize(preload.MaxSharedHeap))
	case size == 0:
		return preload.NoSharedHeap, nil
	}
	return uint64(size), nil
}
