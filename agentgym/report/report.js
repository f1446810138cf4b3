// Without this script everything is shown at once; with it, one group at a time, and a turn in full on a click.
"use strict";
document.documentElement.classList.add("js");

document.addEventListener("DOMContentLoaded", () => {
  const panels = [...document.querySelectorAll(".panel")];
  const buttons = [...document.querySelectorAll(".picker button")];

  function show(index) {
    panels.forEach((panel, i) => panel.classList.toggle("on", i === index));
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
  }
  buttons.forEach((button, i) => button.addEventListener("click", () => show(i)));
  show(0);

  // Turns that began in the state under the pointer.
  function markState(card, on) {
    const same = `.turn[data-state="${card.dataset.state}"]`;
    card.closest(".panel").querySelectorAll(same).forEach((turn) => turn.classList.toggle("same", on));
  }

  const dialog = document.querySelector("dialog");
  let open = null;

  function openCard(card) {
    open = card;
    const copy = card.cloneNode(true);
    copy.classList.remove("same");
    copy.removeAttribute("tabindex");
    dialog.querySelector("header span").textContent = card.getAttribute("aria-label");
    dialog.querySelector(".full").replaceChildren(copy);
    if (!dialog.open) dialog.showModal();
  }

  function move(by) {
    const cards = [...open.closest(".cards").querySelectorAll(".turn[data-state]")];
    const next = cards[cards.indexOf(open) + by];
    if (next) openCard(next);
  }

  document.querySelectorAll(".turn[data-state]").forEach((card) => {
    card.addEventListener("click", () => openCard(card));
    card.addEventListener("keydown", (event) => {
      if (event.key === "Enter") openCard(card);
    });
    card.addEventListener("pointerenter", () => markState(card, card.dataset.same !== "1"));
    card.addEventListener("pointerleave", () => markState(card, false));
  });
  document.querySelectorAll(".cell").forEach((square) => {
    const card = square.closest(".panel").querySelector(`.turn[data-card="${square.dataset.card}"]`);
    square.addEventListener("click", () => openCard(card));
  });
  if (dialog) {
    dialog.querySelector(".previous").addEventListener("click", () => move(-1));
    dialog.querySelector(".next").addEventListener("click", () => move(1));
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") move(-1);
      if (event.key === "ArrowRight") move(1);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }
});
