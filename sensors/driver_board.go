package sensors

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// The board itself: what it says of its supply, temperature, memory, disk,
// card and clock, as readings with all that readings have. Flags are 1 and 0.
var driverBoard = Driver{
	Name: "board", Part: "the board itself", Bus: BusSys,
	Quantities: append(slices.Clone(boardUsual), "memory_total", "disk_total", "under_voltage", "under_voltage_seen", "throttled", "throttled_seen",
		"frequency_capped", "temperature_limit", "card_written", "card_life_used"),
	Options: []string{"quantities"}, Emits: emitsBoard, Open: openBoardFigures,
}

// boardUsual is what every Linux tells, and what is read without `quantities`.
var boardUsual = []string{"temperature", "load", "memory_available", "disk_free", "uptime", "clock_synchronised"}

func emitsBoard(p Params) []string {
	if _, ok := p.Options["quantities"]; ok {
		return emitsNamed(p)
	}
	return boardUsual
}

// figures is met by a board that knows how it is doing.
type figures interface{ Figures() map[string]float64 }

func openBoardFigures(b Buses, p Params) (Probe, error) {
	board := findFigures(b)
	if board == nil {
		return nil, errors.New("this board says nothing of itself")
	}
	chosen, _ := p.Options["quantities"].([]any)
	has := board.Figures()
	for _, x := range chosen {
		q := fmt.Sprint(x)
		if !slices.Contains(p.driver.Quantities, q) {
			return nil, fmt.Errorf("quantities: a board has no %q%s", q, suggest(q, p.driver.Quantities))
		}
		if _, ok := has[q]; !ok {
			return nil, fmt.Errorf("this board does not tell its %s", q)
		}
	}
	want := emitsBoard(p)
	return &parts{read: func(_ context.Context, emit func(Reading)) error {
		has := board.Figures()
		for _, q := range want {
			if v, ok := has[q]; ok {
				emit(Of(q, v))
			}
		}
		return nil
	}}, nil
}

// findFigures looks behind what the scheduler puts around a board.
func findFigures(b Buses) figures {
	for {
		switch x := b.(type) {
		case *guardedBuses:
			b = x.Buses
		case *layers:
			b = x.Buses
		case figures:
			return x
		default:
			return nil
		}
	}
}
