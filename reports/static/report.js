// Filters and sorts what is in the page. Without it nothing is missing but that.
"use strict";
(() => {
  const tools = document.querySelector(".tools");
  const list = document.getElementById("finding-list");
  if (tools && list) {
    const findings = [...list.querySelectorAll(".finding")];
    const chosen = (id) => document.getElementById(id).value;
    const keys = {
      rank: (finding) => [Number(finding.dataset.rank)],
      title: (finding) => [finding.querySelector("h3").textContent, Number(finding.dataset.rank)],
      attacker: (finding) => [Number(finding.dataset.attacker), Number(finding.dataset.rank)],
    };
    const before = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    const update = () => {
      const verdict = chosen("show-verdict"), about = chosen("show-class");
      const attacker = chosen("show-attacker"), key = keys[chosen("order")];
      const deciding = document.getElementById("deciding").checked;
      let shown = 0;
      for (const finding of findings) {
        const { dataset } = finding;
        const fits = (!verdict || dataset.verdict === verdict) && (!about || dataset.class === about)
          && (!attacker || dataset.attacker === attacker)
          && (!deciding || !finding.classList.contains("reported"));
        finding.classList.toggle("filtered", !fits);
        shown += fits;
      }
      const order = [...findings].sort((a, b) => {
        const one = key(a), other = key(b);
        return before(one[0], other[0]) || before(one[1] ?? 0, other[1] ?? 0);
      });
      list.append(...order);
      document.getElementById("shown").textContent =
        `${shown} of ${findings.length} findings shown`;
    };
    tools.hidden = false;
    tools.addEventListener("change", update);
    update();
    // a link to a finding that is filtered out shows all again
    addEventListener("hashchange", () => {
      const target = document.getElementById(location.hash.slice(1));
      if (target && target.classList.contains("filtered")) {
        for (const field of tools.querySelectorAll("select")) field.selectedIndex = 0;
        document.getElementById("deciding").checked = false;
        update();
        target.scrollIntoView();
      }
    });
  }

  // Laid out as blocks on a phone, a table is none to some browsers unless it says what it is.
  const roles = {
    "table.matrix": "table", "thead, tbody": "rowgroup", tr: "row", td: "cell",
    "thead th": "columnheader", "tbody th": "rowheader",
  };
  for (const [parts, role] of Object.entries(roles)) {
    const within = parts.startsWith("table") ? parts : `.matrix :is(${parts})`;
    for (const part of document.querySelectorAll(within)) part.setAttribute("role", role);
  }

  const number = (text) => {
    const found = text.replace(/[\u00a0\s]/g, "").replace("\u2212", "-").match(/^-?[\d.]+/);
    return found ? Number(found[0]) : NaN;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const status = document.createElement("p");
    status.className = "unseen";
    status.setAttribute("role", "status");
    table.after(status);
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const words = (row) => row.cells[column].textContent.trim();
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [number(words(a)), number(words(b))];
          if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
          const order = Number.isNaN(x) ? words(a).localeCompare(words(b)) : x - y;
          return down ? -order : order;
        });
        body.append(...rows);
        status.textContent =
          `sorted by ${button.textContent}, ${down ? "descending" : "ascending"}`;
      });
    });
  }
})();
