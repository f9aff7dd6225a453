// The filters of the dashboard: they set the parameters of every chart, hide table rows of other categories and
// days, and add up the headline figures anew. Without scripts the page stays complete: pictures and all rows.
(() => {
  const chosen = { category: "all", day: "all" };
  const views = new Map();
  let facts = [];

  const matches = (row) =>
    ["category", "day"].every((key) => chosen[key] === "all" || !(key in row) || row[key] === chosen[key]);

  const number = (value, digits = 0) =>
    Number.isFinite(value)
      ? value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })
      : "–";

  function addUp() {
    const total = { views: 0, add_to_carts: 0, purchases: 0, cents: 0 };
    for (const row of facts.filter(matches)) {
      for (const name of Object.keys(total)) total[name] += row[name];
    }
    return {
      revenue: number(total.cents / 100, 2),
      purchases: number(total.purchases),
      average_order: number(total.cents / 100 / total.purchases, 2),
      views: number(total.views),
      view_to_cart: number((100 * total.add_to_carts) / total.views, 2),
      cart_to_purchase: number((100 * total.purchases) / total.add_to_carts, 2),
    };
  }

  function apply() {
    const figures = addUp();
    for (const element of document.querySelectorAll("[data-figure]")) {
      if (element.dataset.figure in figures) element.textContent = figures[element.dataset.figure];
    }
    for (const row of document.querySelectorAll("[data-category], [data-day]")) row.hidden = !matches(row.dataset);
    for (const view of views.values()) view.signal("category", chosen.category).signal("day", chosen.day).runAsync();
    const selected = Object.values(chosen).filter((value) => value !== "all");
    for (const element of document.querySelectorAll("[data-chosen]")) {
      element.textContent = selected.length ? `Shown: ${selected.join(", ")}` : "Shown: everything";
    }
  }

  // Jupyter runs the script of an output before the output is part of the page.
  function whenThere(id, action, tries = 200) {
    const element = document.getElementById(id);
    if (element) action(element);
    else if (tries > 0) setTimeout(() => whenThere(id, action, tries - 1), 25);
  }

  window.capstoneDashboard = {
    filters(id, rows) {
      whenThere(id, (bar) => {
        facts = rows;
        for (const select of bar.querySelectorAll("select")) {
          select.addEventListener("change", () => {
            chosen[select.name] = select.value;
            apply();
          });
        }
      });
    },
    draw(id, spec) {
      whenThere(id, async (place) => {
        const { view } = await vegaEmbed(place, spec, { actions: false, renderer: "svg" });
        views.set(id, view);
        // A chart that was drawn while out of sight, as Jupyter does, finds its width when it appears.
        let width = 0;
        new ResizeObserver(() => {
          if (place.clientWidth === width) return;
          width = place.clientWidth;
          window.dispatchEvent(new Event("resize"));
        }).observe(place);
      });
    },
  };
})();
