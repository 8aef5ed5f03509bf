"""Contrast of all text on a page as it is shown, by WCAG 2.2, 1.4.3: a walk that takes a hundredth of axe-core's time.

Colours come from a text's own element and the backgrounds of those around it; what lies under a picture or a gradient is
left out. Axe-core looks at every page as well, in one of two themes at each width; this looks at it in the other.
"""

from playwright.sync_api import Page

_WALK = """
() => {
  const pixel = document.createElement('canvas').getContext('2d', {willReadFrequently: true, colorSpace: 'srgb'});
  const known = new Map();
  const colour = text => {
    if (!known.has(text)) {
      pixel.clearRect(0, 0, 1, 1);
      pixel.fillStyle = text;
      pixel.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data;
      known.set(text, [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const over = (top, below) => [...[0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])), 1];
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = element => {
    const layers = [];
    for (let it = element; it; it = it.parentElement) {
      const style = getComputedStyle(it);
      if (style.backgroundImage !== 'none') return null;
      const found = colour(style.backgroundColor);
      layers.push(found);
      if (found[3] === 1) break;
    }
    return layers.reduceRight((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const says = element => [...element.childNodes].some(node => node.nodeType === 3 && node.nodeValue.trim())
    || (element.matches('input:not([type=hidden], [type=checkbox], [type=radio]), textarea') && element.value);
  const found = [];
  for (const element of document.body.querySelectorAll('*')) {
    if (!says(element) || element.closest('script, style, svg, option, [aria-disabled=true], :disabled')) continue;
    const box = element.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1) continue;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const below = ground(element);
    if (!below) continue;
    const style = getComputedStyle(element), top = [...colour(style.color)];
    for (let it = element; it; it = it.parentElement) top[3] *= Number(getComputedStyle(it).opacity);
    const [one, other] = [light(over(top, below)), light(below)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      const place = element.tagName.toLowerCase() + (element.className ? '.' + [...element.classList].join('.') : '');
      found.push(`contrast ${ratio.toFixed(2)} of ${place}: ${style.color} on ${below.slice(0, 3).map(Math.round)}`);
    }
  }
  return [...new Set(found)];
}
"""


def faint(page: Page) -> list[str]:
    """Text on the page that is too faint as it is shown now, one line each."""
    lines: list[str] = page.evaluate(_WALK)
    return lines
