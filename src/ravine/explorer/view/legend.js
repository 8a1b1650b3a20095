// What the marks on the map mean.

export function legend({ parts, land, lanes: [lane, other], minima }, basins) {
  const mark = (kind, ink) => `<svg viewBox="0 0 22 12" aria-hidden="true" style="color:var(--${ink})">${{
    line: '<path d="M1 6h20" stroke="currentColor" stroke-width="3"/>', dash: '<path d="M1 6h20" stroke="currentColor" stroke-width="3" stroke-dasharray="5 3"/>',
    arrow: '<path d="M1 6h14" stroke="currentColor" stroke-width="3"/><path d="M13 1l8 5-8 5z" fill="currentColor"/>',
    square: '<rect x="6" y="1" width="10" height="10" fill="currentColor" fill-opacity=".3" stroke="currentColor" stroke-width="1.5"/>',
    ellipse: '<ellipse cx="11" cy="6" rx="10" ry="5" fill="none" stroke="currentColor" stroke-width="1.5" stroke-dasharray="2 2"/>',
  }[kind]}</svg>`;
  const items = [[mark("line", "a"), lane.name], ...(other ? [[mark("dash", "b"), other.name]] : [])];
  if (parts && land.names.length > 1) {
    items.push([mark("arrow", "g"), "against the gradient g"]);
    if (parts.m) items.push([mark("arrow", "m"), `against ${parts.names.first}`]);
    items.push([mark("arrow", "fg"), "the step, to scale"]);
    if (parts.roots) items.push([mark("square", "m"), `√${parts.names.second} of each coordinate`]);
    if (parts.rates) items.push([mark("ellipse", "fg"), "effective rates"]);
  } else if (parts) items.push([mark("line", "g"), "tangent"], [mark("arrow", "fg"), "the step"]);
  if (basins && minima.length && land.names.length > 1) items.push([mark("square", "b"), "which minimum a start there ends in; fainter takes longer, grey ends in none"]);
  return items.map(([svg, words]) => `<li>${svg}${words}</li>`).join("");
}
