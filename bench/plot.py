# SPDX-License-Identifier: Apache-2.0
"""Line plots as SVG, without a library: both axes logarithmic, one line a series, a legend, the numbers' grid."""
import math

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 400, 70, 50, 40, 150
COLOURS = ["#1b6ca8", "#c8553d", "#5a8f3c", "#7d5ba6", "#444444"]


def decades(values):
    low, high = min(values), max(values)
    return math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1)


def lines(title, x_name, y_name, series, floor=1e-3):
    """The SVG's text. @series: {name: [(x, y)]}; y below @floor is drawn there, for zero has no logarithm."""
    points = [(x, max(y, floor)) for line in series.values() for x, y in line]
    x0, x1 = decades([x for x, _ in points])
    y0, y1 = decades([y for _, y in points])

    def at(x, y):
        across = (math.log10(x) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        up = (math.log10(max(y, floor)) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return LEFT + across, HEIGHT - BOTTOM - up

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="24" font-size="14">{title}</text>']
    for decade in range(x0, x1 + 1):
        x, _ = at(10 ** decade, 10 ** y0)
        out += [f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>',
                f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{10 ** decade:g}</text>']
    for decade in range(y0, y1 + 1):
        _, y = at(10 ** x0, 10 ** decade)
        out += [f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>',
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10 ** decade:g}</text>']
    for index, (name, line) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join("%.1f,%.1f" % at(x, y) for x, y in line)
        out += [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
                f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 16 * (index + 1)}" fill="{colour}">{name}</text>']
    out += [f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{x_name}</text>',
            f'<text x="16" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
            f'transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2})">{y_name}</text>', "</svg>"]
    return "\n".join(out) + "\n"
