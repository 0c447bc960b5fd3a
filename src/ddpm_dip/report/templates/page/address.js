// The address keeps what is shown: #a=CELL&b=CELL&t=STEP&display=NAME, a cell's path as its name.

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const known = SIDES.filter((side) => indexOf.has(said.get(side)));
  for (const side of SIDES) state[side] = known.includes(side) ? said.get(side) : (state[side] ?? data.first[side]);
  if (known.length) {
    const t = Number(said.get("t") ?? LAST);
    state.t = Number.isInteger(t) && t >= LAST ? t : LAST;
    if (data.displays.includes(said.get("display"))) state.display = said.get("display");
    byId("display").value = state.display;
  }
  return known.length > 0;
}

function writeAddress() {
  const path = (text) => encodeURIComponent(text).replaceAll("%2F", "/");
  const said = `#a=${path(state.a)}&b=${path(state.b)}&t=${state.t}&display=${state.display}`;
  if (said !== location.hash && (location.hash.startsWith("#a=") || touched)) history.replaceState(null, "", said);
}

let touched = false; // a page that was only opened keeps the address it was opened by
for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => (touched = true), { once: true, capture: true });
