package mailhaul

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSecretIsNeverShown(t *testing.T) {
	const value = "tr0ub4dor&3"
	s := NewSecret(value)
	holder := struct {
		Name   string
		Secret Secret
		Ptr    *Secret
		hidden Secret
	}{"ada", s, &s, s}

	var shown []string
	for _, verb := range "vTtbcdoOqxXUeEfFgGspw" {
		for _, flags := range []string{"", "+", "#", "-30", " ", "030", ".3", "+#"} {
			format := "%" + flags + string(verb)
			shown = append(shown, fmt.Sprintf(format, s), fmt.Sprintf(format, &s), fmt.Sprintf(format, holder), fmt.Sprintf(format, &holder),
				fmt.Sprintf(format, []Secret{s}), fmt.Sprintf(format, map[string]Secret{"k": s}))
		}
	}
	shown = append(shown, fmt.Sprint(s, &s), fmt.Sprintln(holder), s.String(), s.GoString(), s.LogValue().String())

	text, err := s.MarshalText()
	require.NoError(t, err)
	asJSON, err := json.Marshal(map[string]any{"s": s, "p": &s, "h": holder})
	require.NoError(t, err)
	shown = append(shown, string(text), string(asJSON))
	var encoded bytes.Buffer
	_ = gob.NewEncoder(&encoded).Encode(s)
	shown = append(shown, encoded.String())

	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		l := slog.New(h).With("with", s)
		l.Info("secret", "s", s, "p", &s, "h", holder, slog.Group("g", "s", s), "e", fmt.Errorf("refused %v", s))
	}
	shown = append(shown, log.String())
	shown = append(shown, errors.Join(fmt.Errorf("%w: %s", ErrClosed, s)).Error())
	shown = append(shown, (&Error{Op: "log in", Err: fmt.Errorf("%#v", s)}).Error())

	hex := fmt.Sprintf("%x", value)
	for _, text := range shown {
		assert.NotContains(t, text, value)
		assert.NotContains(t, strings.ToLower(text), hex)
	}
	assert.Equal(t, "[secret]", fmt.Sprint(s))
	assert.Contains(t, log.String(), "[secret]")
	assert.Equal(t, value, s.Reveal())
}

func TestSecretEmpty(t *testing.T) {
	assert.True(t, Secret{}.Empty())
	assert.True(t, NewSecret("").Empty())
	assert.False(t, NewSecret("x").Empty())
	assert.Equal(t, "[secret]", fmt.Sprint(Secret{}), "not even that there is none is told")
	assert.Empty(t, Secret{}.Reveal())
}
