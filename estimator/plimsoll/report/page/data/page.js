"use strict";
const tools = document.querySelector(".tools");
if (tools) {
  const list = document.querySelector(".rows");
  const all = [...list.children].map((li) => {
    const [state, need, gpus] = li.dataset.d.split(" ");
    const name = li.querySelector("b").textContent;
    const text = li.textContent.toLowerCase();
    return { li, state, need: +need, gpus: +gpus, name, space: name.split("/")[0], text };
  });
  const one = (id) => document.getElementById(id);
  const value = (id) => (one(id) ? one(id).value : "");
  const orders = {
    name: (a, b) => a.name.localeCompare(b.name),
    need: (a, b) => b.need - a.need,
    gpus: (a, b) => b.gpus - a.gpus,
  };
  const show = () => {
    const words = value("find").toLowerCase().split(/\s+/);
    const state = value("state"), space = value("space");
    let shown = 0;
    for (const row of all) {
      const there = (!state || row.state === state) && (!space || row.space === space)
        && words.every((word) => row.text.includes(word));
      row.li.hidden = !there;
      shown += there;
    }
    one("shown").textContent = shown === all.length ? "" : `${shown} of ${all.length}`;
  };
  const sort = () => {
    const order = orders[value("sort")];
    list.append(...(order ? [...all].sort(order) : all).map((row) => row.li));
  };
  tools.addEventListener("input", show);
  tools.addEventListener("submit", (event) => event.preventDefault());
  one("sort").addEventListener("change", sort);
  tools.hidden = false;
}
