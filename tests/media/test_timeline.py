"""When pictures of an animation are on screen."""

from fractions import Fraction

from grn.media.timeline import Timeline


def of(*hundredths: int) -> Timeline:
    return Timeline.of([Fraction(one, 100) for one in hundredths], Fraction(1, 100))


def test_usual_rates_are_found_behind_rounded_times() -> None:
    assert of(4, 4, 4).fps == 25
    assert of(3, 4, 3, 3, 4, 3, 3).fps == 30
    assert of(4, 4, 5, 4, 4, 4).fps == 24
    assert of(20, 60).fps == Fraction(5, 2)


def test_cuts_begin_with_what_appears_next() -> None:
    line = of(10, 30, 10, 50)
    chosen, rest = line.cut(0.1, 0.4)
    assert (list(chosen), rest.times) == ([1, 2], (0, Fraction(3, 10), Fraction(2, 5)))
    assert list(line.cut(0.4, None)[0]) == [2, 3]
    assert list(line.cut(0.41, 0.05)[0]) == []
    assert list(line.cut(1.0, None)[0]) == []


def test_repeats_follow_the_screen() -> None:
    line = of(10, 30, 10, 50)
    assert line.repeats(None) == [1, 1, 1, 1]
    assert line.repeats(10) == [1, 3, 1, 5]
    assert line.repeats(1) == [1, 0, 0, 0]
    assert line.repeats(0.1) == [1, 0, 0, 0]
