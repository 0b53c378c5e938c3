package main

import (
	"log/slog"
	"slices"
	"strings"

	"gatewayd/board"
	"gatewayd/board/sim"
	"gatewayd/config"
	"gatewayd/sensors"
)

// boardOptions says which board to open. A simulated one has the parts that
// the configuration reads.
func boardOptions(c *config.Config, log *slog.Logger) board.Options {
	o := board.Options{Mode: board.Mode(c.Board.Kind), Log: log, DataDir: c.Gateway.DataDir, Sim: sim.Options{Seed: uint64(c.Board.Seed), Parts: []sim.Part{}}}
	kinds := map[string]bool{}
	for _, k := range sim.KindNames() {
		kinds[k] = true
	}
	buses := simulatedBuses()
	hang := func(driver, name, bus, address string) { // a multiplexer or an expander
		if kinds[driver] && slices.Contains(buses, sensors.BusName(bus)) {
			o.Sim.Parts = append(o.Sim.Parts, sim.Part{Kind: driver, Name: name, Bus: bus, Address: address})
		}
	}
	for _, m := range c.Muxes {
		hang("pca9548", m.Name, m.Bus, m.Address)
		buses = append(buses, m.Name)
	}
	for _, e := range c.Expanders {
		hang(e.Driver, e.Name, e.Bus, e.Address)
	}
	for _, s := range c.Sensors {
		bus, _, behind := strings.Cut(busOf(s), "/") // behind a multiplexer
		if !behind {
			bus = sensors.BusName(bus)
		}
		d, _ := sensors.FindDriver(s.Driver)
		wired := d.Bus == sensors.BusPins || d.Bus == sensors.BusSys // on lines, or driven by the kernel: on no bus
		if !kinds[s.Driver] || !wired && !slices.Contains(buses, bus) {
			continue // the room says that there is no such bus
		}
		p := sim.Part{Kind: s.Driver, Name: s.Name, Bus: busOf(s), Address: s.Address, Options: s.Options}
		for _, f := range c.Board.Faults {
			if f.Sensor == s.Name {
				p.Faults = append(p.Faults, sim.Fault{Kind: sim.FaultKind(f.Fault), After: f.After.D(), For: f.For.D(),
					Every: f.Every.D(), Chance: f.Chance, Amount: f.Amount})
			}
		}
		o.Sim.Parts = append(o.Sim.Parts, p)
	}
	for _, e := range c.Board.Script {
		o.Sim.Script = append(o.Sim.Script, sim.Action{At: e.At.D(), Every: e.Every.D(), Line: e.Line, High: e.Level == "high", Toggle: e.Level == "toggle"})
	}
	return o
}

// simulatedBuses are those a simulated board has before anything hangs on it.
func simulatedBuses() []string {
	b, err := sim.New(sim.Options{Parts: []sim.Part{}})
	if err != nil {
		return nil
	}
	defer b.Close()
	return b.Buses()
}

// busOf is the bus a sensor hangs on; where none is written, the one on the
// header of a Raspberry Pi.
func busOf(s config.Sensor) string {
	if s.Bus != "" {
		return s.Bus
	}
	d, _ := sensors.FindDriver(s.Driver)
	return map[sensors.BusKind]string{sensors.BusI2C: "i2c-1", sensors.BusOneWire: "w1-1", sensors.BusSPI: "spi0.0"}[d.Bus]
}

func busRemedy(info board.Info) string {
	if len(info.Buses) == 0 {
		return "this board has no buses: enable I2C, SPI or 1-wire, or set board: sim"
	}
	return "use one of " + strings.Join(info.Buses, ", ") + ", or enable the bus"
}
