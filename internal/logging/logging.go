// Package logging writes the agent's log in the form that the 1.x agents gave it, so that what reads one reads the other:
//
//	2026-01-31 15:04:05 INFO  [codedeploy-agent(4711)]: message {"key":"value"}
//
// Times are local. A file is closed at the end of its day or at 64 MiB, and seven are kept.
package logging

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"gopkg.in/natefinch/lumberjack.v2"
)

// Limits of the log files.
const (
	maxMegabytes = 64
	maxFiles     = 7
	maxDays      = 7
)

// Options say where the log goes.
type Options struct {
	// Dir and Program make the file name: Dir/Program.log.
	Dir, Program string
	// Verbose adds debug lines.
	Verbose bool
	// Terminal also gets every line, when it is not nil.
	Terminal io.Writer
	// Errors also gets warnings and errors, when it is not nil.
	Errors io.Writer
}

// New opens the log. The returned function closes it.
func New(o Options) (*zap.Logger, func(), error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("cannot create the log folder %q: %w", o.Dir, err)
	}
	path := filepath.Join(o.Dir, o.Program+".log")
	info, err := touch(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot write the log %q: %w", path, err)
	}
	file := &lumberjack.Logger{Filename: path, MaxSize: maxMegabytes, MaxBackups: maxFiles, MaxAge: maxDays, LocalTime: true}
	level := zapcore.InfoLevel
	if o.Verbose {
		level = zapcore.DebugLevel
	}
	encoder := newEncoder(o.Program)
	cores := []zapcore.Core{zapcore.NewCore(encoder, zapcore.AddSync(&daily{Logger: file, day: today(), info: info}), level)}
	if o.Terminal != nil {
		cores = append(cores, zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(o.Terminal)), level))
	}
	if o.Errors != nil {
		cores = append(cores, zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(o.Errors)), zapcore.WarnLevel))
	}
	return zap.New(zapcore.NewTee(cores...)), func() { _ = file.Close() }, nil
}

// touch makes a file if there is none. lumberjack would make it 0600; the log may be read by those who collect logs.
func touch(path string) (os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.Stat()
}

// daily starts a new file with the first line of a day, and when somebody has moved or removed the old one: log
// collectors do, and people who need room.
type daily struct {
	*lumberjack.Logger
	mu   sync.Mutex
	day  string
	info os.FileInfo // of the file that is written
}

func today() string { return time.Now().Format(time.DateOnly) }

func (d *daily) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := today(); now != d.day {
		d.day = now
		_ = d.Rotate() // a file that cannot be renamed is written on
	}
	if info, err := os.Stat(d.Filename); err != nil || !os.SameFile(info, d.info) {
		_ = d.Close() // the next write opens what lies there
		_ = os.MkdirAll(filepath.Dir(d.Filename), 0o755)
		d.info, _ = touch(d.Filename)
	}
	return d.Logger.Write(p)
}

// encoder gives a line the 1.x form; fields follow the message as one JSON object.
type encoder struct {
	zapcore.Encoder
	origin string
}

func newEncoder(program string) encoder {
	fields := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeTime:     zapcore.RFC3339TimeEncoder,
		SkipLineEnding: true,
	})
	return encoder{Encoder: fields, origin: fmt.Sprintf("[%s(%d)]", program, os.Getpid())}
}

func (e encoder) Clone() zapcore.Encoder {
	return encoder{Encoder: e.Encoder.Clone(), origin: e.origin}
}

var pool = buffer.NewPool()

func (e encoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line := pool.Get()
	line.AppendString(entry.Time.Local().Format(time.DateTime))
	fmt.Fprintf(line, " %-5s %s: %s", entry.Level.CapitalString(), e.origin, oneLine.Replace(entry.Message))
	extra, err := e.Encoder.EncodeEntry(zapcore.Entry{}, fields)
	if err != nil {
		return nil, err
	}
	defer extra.Free()
	if text := extra.String(); text != "{}" {
		line.AppendByte(' ')
		line.AppendString(text)
	}
	line.AppendByte('\n')
	return line, nil
}

// oneLine keeps one entry on one line: a message may quote what other programs said.
var oneLine = strings.NewReplacer("\r\n", "\\n", "\n", "\\n", "\r", "\\r", "\x1b", "\\e")
