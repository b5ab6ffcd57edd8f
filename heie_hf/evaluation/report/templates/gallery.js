"use strict";
// Sorts and filters the gallery. The choice stands in the address (#sort=-error&from=0.2&to=0.8), to be sent to others.
const gallery = document.getElementById("gallery");
const controls = document.getElementById("controls");
const { sort, from, to, fromShown, toShown, count } = controls.elements;
const cards = Array.from(gallery.children);

function value(card, name) {
  return name in card.dataset ? Number(card.dataset[name]) : null;
}

// Cards without the value come last, whichever way the others are sorted.
function compare(name, sign) {
  return (a, b) => {
    const [first, second] = [value(a, name), value(b, name)];
    if (first === null || second === null) return (first === null) - (second === null);
    return sign * (first - second) || value(a, "row") - value(b, "row");
  };
}

// A card without a score is in no range; it shows while all scores do.
function inRange(card) {
  const score = value(card, "score");
  const all = from.value <= 0 && to.value >= 1;
  return all || (score !== null && score >= from.value && score <= to.value);
}

function show() {
  const sign = sort.value.startsWith("-") ? -1 : 1;
  cards.sort(compare(sort.value.replace("-", ""), sign));
  cards.forEach((card) => { card.hidden = !inRange(card); });
  gallery.replaceChildren(...cards);
  fromShown.value = Number(from.value).toFixed(2);
  toShown.value = Number(to.value).toFixed(2);
  count.value = `${cards.filter((card) => !card.hidden).length} of ${cards.length} images`;
}

function choose(changed) {
  if (Number(from.value) > Number(to.value)) {
    if (changed === from) to.value = from.value; else from.value = to.value;
  }
  show();
  history.replaceState(null, "", "#" + new URLSearchParams({ sort: sort.value, from: from.value, to: to.value }));
}

function readAddress() {
  const choice = new URLSearchParams(location.hash.slice(1));
  const known = ["sort", "from", "to"].filter((name) => choice.has(name));
  if (known.includes("sort")) sort.value = choice.get("sort");
  if (sort.selectedIndex < 0) sort.value = "row"; // there is no such order
  if (known.includes("from")) from.value = Number(choice.get("from")) || from.min;
  if (known.includes("to")) to.value = Number(choice.get("to")) || to.max;
  show();
  if (known.length) document.getElementById("all-images").scrollIntoView();
}

controls.hidden = false;
controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("input", (event) => choose(event.target));
window.addEventListener("hashchange", readAddress);
readAddress();
