# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG, without a library: lines over axes that are logarithmic or not, and groups of bars.

A series is a name and a colour, which it keeps in every plot. The files are small enough to be committed, and the
same figures give the same bytes.
"""
import math

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 70, 50, 40, 120
COLOURS = ["#1b6ca8", "#c8553d", "#5a8f3c", "#7d5ba6", "#444444"]
TICKS = 6  # of an axis that is not logarithmic, about


class Axis:
    """Where a value of [@low, @high] lies between @start and @end of the drawing."""

    def __init__(self, low, high, start, end):
        self.low, self.high, self.start, self.end = low, high, start, end

    def at(self, value):
        return self.start + (self.scaled(value) - self.low) / (self.high - self.low) * (self.end - self.start)


class Linear(Axis):
    def __init__(self, values, start, end, step=None):
        top = max(values)
        raw = top / TICKS
        size = 10.0 ** math.floor(math.log10(raw))
        self.step = step or next(size * n for n in (1, 2, 5, 10) if size * n >= raw)
        super().__init__(0, self.step * math.ceil(top / self.step), start, end)

    def scaled(self, value):
        return value

    def marks(self):
        return [self.step * n for n in range(round(self.high / self.step) + 1)]


class Log(Axis):
    """Values below @floor are drawn there, for zero has no logarithm."""

    def __init__(self, values, start, end, floor=1e-3):
        self.floor = floor
        low = math.floor(math.log10(max(min(values), floor)))
        super().__init__(low, max(math.ceil(math.log10(max(max(values), floor))), low + 1), start, end)

    def scaled(self, value):
        return math.log10(max(value, self.floor))

    def marks(self):
        return [10.0 ** n for n in range(self.low, self.high + 1)]


def text(x, y, words, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words}</text>'


def rule(x1, y1, x2, y2, more='stroke="#ddd"'):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def frame(title, x_name, y_name, y):
    """The beginning of a plot: title, names of the axes, and the grid of the one that goes up."""
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', text(LEFT, 24, title, 'font-size="14"'),
           text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_name, 'text-anchor="middle"'),
           text(16, middle, y_name, f'text-anchor="middle" transform="rotate(-90 16 {middle})"')]
    for mark in y.marks():
        out += [rule(LEFT, y.at(mark), WIDTH - RIGHT, y.at(mark)), text(LEFT - 6, y.at(mark) + 4, f"{mark:g}", 'text-anchor="end"')]
    return out


def legend(index, name):
    return text(WIDTH - RIGHT + 10, TOP + 16 * (index + 1), name, f'fill="{COLOURS[index % len(COLOURS)]}"')


def lines(title, x_name, y_name, series, x_axis=Log, y_axis=Log, bar=None):
    """The SVG's text. @series: {name: [(x, y)]}; @bar: (name, y) of a promise, a dashed line across."""
    points = [point for line in series.values() for point in line]
    x = x_axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    y = y_axis([y for _, y in points] + ([bar[1]] if bar else []), HEIGHT - BOTTOM, TOP)
    out = frame(title, x_name, y_name, y)
    for mark in x.marks():
        out += [rule(x.at(mark), TOP, x.at(mark), HEIGHT - BOTTOM),
                text(x.at(mark), HEIGHT - BOTTOM + 16, f"{mark:g}", 'text-anchor="middle"')]
    for index, (name, line) in enumerate(series.items()):
        path = " ".join("%.1f,%.1f" % (x.at(a), y.at(b)) for a, b in line)
        out += [f'<polyline points="{path}" fill="none" stroke="{COLOURS[index % len(COLOURS)]}" stroke-width="1.5"/>',
                legend(index, name)]
    if bar:
        out += [rule(LEFT, y.at(bar[1]), WIDTH - RIGHT, y.at(bar[1]), 'stroke="#000" stroke-dasharray="5 4"'),
                text(WIDTH - RIGHT + 10, y.at(bar[1]) + 4, bar[0])]
    return "\n".join(out + ["</svg>"]) + "\n"


def bars(title, x_name, y_name, labels, series):
    """The SVG's text. @series: {name: [value for each of @labels]}, beside one another over each label."""
    y = Linear([v for values in series.values() for v in values], HEIGHT - BOTTOM, TOP)
    room = (WIDTH - LEFT - RIGHT) / len(labels)
    width = room * 0.8 / len(series)
    out = frame(title, x_name, y_name, y)
    out += [text(LEFT + room * (i + 0.5), HEIGHT - BOTTOM + 16, label, 'text-anchor="middle"') for i, label in enumerate(labels)]
    for index, (name, values) in enumerate(series.items()):
        out += [f'<rect x="{LEFT + room * (i + 0.1) + index * width:.1f}" y="{y.at(value):.1f}" width="{width:.1f}" '
                f'height="{y.at(0) - y.at(value):.1f}" fill="{COLOURS[index % len(COLOURS)]}"/>' for i, value in enumerate(values)]
        out.append(legend(index, name))
    return "\n".join(out + ["</svg>"]) + "\n"
