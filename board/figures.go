package board

import (
	"strconv"
	"strings"
)

// Figure is one value of the board's health, for a topic of its own.
type Figure struct {
	Name  string // lower case, a topic level
	Unit  string // as Home Assistant writes it; empty for words
	Value string
}

// Figures are the single values of h, those that this board has.
func (h Health) Figures() []Figure {
	var all []Figure
	add := func(name, unit, value string) { all = append(all, Figure{name, unit, value}) }
	number := func(name, unit string, v float64, digits int) {
		add(name, unit, strconv.FormatFloat(v, 'f', digits, 64))
	}
	whole := func(name, unit string, v uint64) { add(name, unit, strconv.FormatUint(v, 10)) }
	flag := func(name string, v bool) { add(name, "", map[bool]string{true: "on", false: "off"}[v]) }

	add("model", "", h.Model)
	if h.Serial != "" {
		add("serial", "", h.Serial)
	}
	if h.HasTemperature {
		number("temperature", "°C", h.Temperature, 1)
	}
	if h.HasPower {
		flag("under_voltage", h.Power.UnderVoltage)
		flag("under_voltage_seen", h.Power.UnderVoltageSeen)
		flag("throttled", h.Power.Throttled)
		flag("throttled_seen", h.Power.ThrottledSeen)
		flag("frequency_capped", h.Power.FrequencyCapped)
		flag("temperature_limit", h.Power.TemperatureCap)
	}
	number("load", "", h.Load, 2)
	whole("memory_total", "B", h.MemoryTotal)
	whole("memory_available", "B", h.MemoryAvailable)
	whole("disk_total", "B", h.DiskTotal)
	whole("disk_free", "B", h.DiskFree)
	if h.HasCard {
		whole("card_written", "B", h.Card.Written)
		if h.Card.Used > 0 {
			whole("card_life_used", "%", uint64(h.Card.Used))
		}
	}
	whole("uptime", "s", uint64(max(h.UptimeSeconds, 0)))
	add("clock", "", h.Clock.String())
	return all
}

// Figures are the numbers of the board's health now, by name; flags are 1 and
// 0. Those that this board does not have are absent.
func (b *Board) Figures() map[string]float64 {
	dir := b.data
	if dir == "" {
		dir = b.root
	}
	all := map[string]float64{}
	if b.sim != nil {
		all = b.sim.Figures() // what this machine does not have
	}
	h := b.Health(dir)
	for _, f := range h.Figures() {
		switch v, err := strconv.ParseFloat(f.Value, 64); {
		case err == nil && f.Name != "serial" && f.Name != "model":
			all[f.Name] = v
		case f.Value == "on":
			all[f.Name] = 1
		case f.Value == "off":
			all[f.Name] = 0
		}
	}
	all["clock_synchronised"] = 0
	if h.Clock.Synchronised {
		all["clock_synchronised"] = 1
	}
	return all
}

// String is "synchronised", "not synchronised" or "never set".
func (c Clock) String() string {
	switch {
	case c.Synchronised:
		return "synchronised"
	case c.Plausible:
		return "not synchronised"
	}
	return "never set"
}

// Trouble is what a person should hear of at once, empty when all is well.
func (h Health) Trouble() string {
	var all []string
	for _, x := range []struct {
		is   bool
		text string
	}{
		{h.Power.UnderVoltage, "the supply voltage is too low: use a stronger power supply or a shorter cable"},
		{h.Power.Throttled, "the processor is throttled"},
		{h.Power.TemperatureCap, "the processor is at its temperature limit"},
		{h.Card.Used >= 90, "the card is near the end of its life: replace it"},
	} {
		if x.is {
			all = append(all, x.text)
		}
	}
	return strings.Join(all, "; ")
}
