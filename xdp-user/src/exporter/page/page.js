
"use strict";
(() => {
  // A reader that asked for less motion gets figures that change less often.
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const EVERY = calm ? 10_000 : 2_000;
  const PATIENCE = 8_000;
  const POINTS = Math.round(120_000 / EVERY);
  const STATES = {
    normal: ["good", "○ normal"],
    elevated: ["odd", "◐ elevated: over its budget"],
    attack: ["bad", "● under attack"],
  };
  const REFUSED = ["dropped", "answered"];

  const byId = (id) => document.getElementById(id);
  const count = (number) => number.toLocaleString("en");
  const unscaled = (number) => number < 10 && number > 0 ? number.toFixed(1) : count(Math.round(number));
  const perSecond = (rate) => rate === null ? "–" : unscaled(rate);
  const scaled = (number, unit) => {
    if (number === null) return "–";
    const prefixes = ["", "k", "M", "G", "T", "P"];
    let step = 0;
    for (; number >= 1000 && step < prefixes.length - 1; step += 1) number /= 1000;
    return `${step === 0 ? Math.round(number) : number.toFixed(1)} ${prefixes[step]}${unit}`;
  };
  const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const time = (text) => {
    const [at, now] = [new Date(text), new Date()];
    const day = at.toDateString() === now.toDateString() ? {} : { day: "numeric", month: "short" };
    return at.toLocaleString("en", { ...CLOCK, ...day });
  };
  const span = (seconds) => {
    const [days, hours, minutes] = [seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
    if (days > 0) return `${days}d${hours}h`;
    return hours > 0 ? `${hours}h${minutes}m` : `${minutes}m${Math.floor(seconds % 60)}s`;
  };
  const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
  const sum = (numbers) => numbers.reduce((all, number) => all + number, 0);
  const actionIs = (actions) => (row) => actions.includes(row.action);

  // Text is written only where it differs, so that nothing moves under a reader or a selection.
  function write(node, text, style = "") {
    if (node.textContent !== text) node.textContent = text;
    if (node.className !== style) node.className = style;
  }

  function trend(points) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    for (const [name, value] of [["viewBox", "0 0 100 20"], ["preserveAspectRatio", "none"],
      ["aria-hidden", "true"], ["focusable", "false"]]) svg.setAttribute(name, value);
    svg.append(line);
    draw(svg, points);
    return svg;
  }

  function draw(svg, points) {
    const most = Math.max(1, ...points);
    const first = POINTS - points.length;
    const places = points.map((value, at) =>
      `${((first + at) / (POINTS - 1) * 100).toFixed(1)},${(19 - value / most * 18).toFixed(1)}`);
    svg.firstChild.setAttribute("points", places.join(" "));
  }

  // What a counter was and its rates since. Forgotten when the daemon starts anew.
  let counters = new Map();

  function rate(name, value, at) {
    const known = counters.get(name);
    if (!known) {
      counters.set(name, { value, at, rate: null, points: [] });
    } else if (at > known.at) {
      known.rate = Math.max(0, value - known.value) / ((at - known.at) / 1000);
      known.points = [...known.points, known.rate].slice(-POINTS);
      Object.assign(known, { value, at });
    }
    const { rate, points } = counters.get(name);
    return { rate, points };
  }

  // Rows of a table by key: [{ key, cells }], a cell a text, or { text, style, about, points }.
  const rowsOf = new Map();

  function fill(id, rows) {
    const body = byId(id).tBodies[0];
    const known = rowsOf.get(id) ?? new Map();
    const next = new Map();
    rows.forEach(({ key, cells }, place) => {
      const row = known.get(key) ?? newRow(key, cells);
      cells.forEach((cell, at) => setCell(row.cells[at], cell));
      if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
      next.set(key, row);
    });
    for (const [key, row] of known) if (!next.has(key)) row.remove();
    rowsOf.set(id, next);
  }

  function newRow(key, cells) {
    const row = document.createElement("tr");
    row.dataset.key = key;
    cells.forEach((cell, at) => {
      const node = document.createElement(at === 0 ? "th" : "td");
      if (at === 0) node.scope = "row";
      if (cell.about) {
        const about = document.createElement("small");
        about.textContent = cell.about;
        node.append(document.createElement("span"), about);
      } else if (cell.points) {
        node.append(trend(cell.points));
      }
      row.append(node);
    });
    return row;
  }

  function setCell(node, cell) {
    if (cell.points) draw(node.firstChild, cell.points);
    else if (cell.about) write(node.firstChild, cell.text);
    else if (typeof cell === "string") write(node, cell);
    else write(node, cell.text, cell.style);
  }

  const number = (text) => ({ text, style: "number" });
  const points = (of) => ({ points: of.points });

  function showNow(status, at) {
    const packets = (actions) => sum(status.reasons.filter(actionIs(actions)).map((row) => row.packets));
    const bytes = (actions) => sum(status.reasons.filter(actionIs(actions)).map((row) => row.bytes));
    const all = ["passed", "observed", ...REFUSED];
    const tiles = [
      ["packets", "Packets/s", packets(all), perSecond],
      ["dropped", "Dropped/s", packets(["dropped"]), perSecond],
      ["answered", "Answered/s", packets(["answered"]), perSecond],
      ["observed", "Only counted/s", packets(["observed"]), perSecond],
      ["bits", "Came in, bit/s", bytes(all) * 8, (one) => scaled(one, "")],
      ["let-through", "Let through, bit/s", bytes(["passed", "observed"]) * 8, (one) => scaled(one, "")],
    ];
    for (const [name, title, value, shown] of tiles) {
      const now = rate(`now ${name}`, value, at);
      const tile = byId(`now-${name}`) ?? newTile(name, title);
      write(tile.querySelector("span"), shown(now.rate));
      draw(tile.querySelector("svg"), now.points);
    }
  }

  function newTile(name, title) {
    const tile = document.createElement("div");
    tile.id = `now-${name}`;
    const [term, figure] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = title;
    figure.append(document.createElement("span"), trend([]));
    tile.append(term, figure);
    byId("now").append(tile);
    return tile;
  }

  function showReasons(status, at) {
    const rank = (row) => ["dropped", "answered", "observed", "passed"].indexOf(row.action);
    const counted = status.reasons
      .map((row) => ({ ...row, now: rate(`reason ${row.reason} ${row.action}`, row.packets, at) }))
      .filter((row) => row.packets > 0)
      .sort((a, b) => rank(a) - rank(b) || b.packets - a.packets);
    fill("reasons", counted.map((row) => ({
      key: `${row.reason} ${row.action}`,
      cells: [
        { text: row.reason, about: row.about },
        { text: row.action, style: { dropped: "bad", answered: "odd", observed: "odd", passed: "good" }[row.action] },
        number(perSecond(row.now.rate)), points(row.now),
        number(count(row.packets)), number(scaled(row.bytes, "B")),
      ],
    })));
    write(byId("reasons-quiet"), counted.length === 0 ? "No packet yet." : "Reasons without packets are left out.", "quiet");
  }

  function showClasses(status, at) {
    const rank = (row) => ["attack", "elevated", "normal"].indexOf(row.state);
    const all = status.mitigation.classes.map((row) => ({
      ...row,
      now: rate(`class ${row.name}`, row.counts.packets, at),
      over: rate(`over ${row.name}`, row.counts.over, at),
    }));
    const shown = all
      .filter((row) => row.state !== "normal" || row.counts.packets > 0)
      .sort((a, b) => rank(a) - rank(b) || b.counts.packets - a.counts.packets);
    fill("classes", shown.map((row) => ({
      key: row.name,
      cells: [
        row.name,
        { text: STATES[row.state][1], style: STATES[row.state][0] },
        time(row.since),
        number(perSecond(row.now.rate)), points(row.now), number(perSecond(row.over.rate)),
        number(count(row.counts.refused + row.counts.unsolicited)), number(count(row.counts.cookies)),
      ],
    })));
    const hidden = all.length - shown.length;
    write(byId("classes-quiet"), status.mitigation.enabled
      ? `${plural(hidden, "calm class", "calm classes")} without packets left out.`
      : "Switched off: classes decide nothing.", "quiet");
    const changes = status.mitigation.changes.map((one) =>
      `${time(one.at)} ${one.class}: ${one.from} to ${one.to}` +
      (one.over_per_second > 0 ? `, ${count(one.over_per_second)} packets/s over its budget` : ""));
    list("changes", changes.length > 0 ? changes.reverse() : ["None since the daemon started."]);
  }

  function list(id, texts) {
    const node = byId(id);
    while (node.children.length > texts.length) node.lastElementChild.remove();
    texts.forEach((text, at) => write(node.children[at] ?? node.appendChild(document.createElement("li")), text));
  }

  function showSources(sources) {
    byId("sources").hidden = !sources;
    if (!sources) return;
    const rows = (those) => those.map((one) => ({
      key: one.source,
      cells: [
        one.source,
        one.banned_until ? { text: `banned until ${time(one.banned_until)}`, style: "bad" }
          : one.strikes > 0 ? { text: plural(one.strikes, "strike", "strikes"), style: "odd" }
            : { text: "not limited now", style: "good" },
        number(count(one.dropped_packets)), number(count(one.packets)), number(scaled(one.bytes, "B")),
      ],
    }));
    fill("top-dropped", rows(sources.dropped));
    fill("top-packets", rows(sources.packets));
    write(byId("sources-quiet"), `${plural(sources.known, "source", "sources")} known at ${time(sources.at)}.`, "quiet");
  }

  function showInterfaces(status, at) {
    fill("interfaces", status.interfaces.map((one) => {
      const host = status.host.interfaces.find((other) => other.name === one.name);
      const lost = (host?.lost ?? []).filter((cause) => cause.count > 0)
        .map((cause) => `${cause.name} ${count(cause.count)}`);
      return {
        key: one.name,
        cells: [
          one.name,
          one.attached ? { text: one.mode === "generic" ? "generic (slow)" : one.mode, style: one.mode === "generic" ? "odd" : "good" }
            : { text: "✕ not attached", style: "bad" },
          number(perSecond(rate(`interface ${one.name}`, one.packets, at).rate)),
          number(perSecond(rate(`refused ${one.name}`, one.refused, at).rate)),
          number(scaled(rate(`bits ${one.name}`, one.bytes * 8, at).rate, "")),
          number(lost.join(", ") || "0"),
        ],
      };
    }));
  }

  function showRest(status) {
    fill("lists", status.lists.map((one) => ({
      key: `${one.kind} ${one.name}`, cells: [one.name, one.kind, number(count(one.entries))],
    })));
    const left = status.lists_left_out;
    write(byId("lists-quiet"), left > 0 ? `${plural(left, "list", "lists")} more.` : `${plural(status.bans, "ban", "bans")} in force.`, "quiet");
    fill("tables", status.tables.map((one) => ({
      key: one.name,
      cells: [one.name, number(count(one.entries)), number(count(one.capacity)),
        number(`${(one.entries / one.capacity * 100).toFixed(1)} %`)],
    })));
    const losses = [
      ...status.faults.map((one) => [one, "the throttler's own fault"]),
      ...status.host.lost.map((one) => [one, "lost by the kernel, behind the program"]),
    ].filter(([one]) => one.count > 0);
    fill("losses", losses.map(([one, where]) => ({
      key: `${where} ${one.name}`, cells: [one.name, where, number(count(one.count))],
    })));
    write(byId("losses-quiet"), losses.length === 0 ? "None." : "", "quiet");
    byId("warnings").hidden = status.warnings.length === 0;
    list("warning-list", status.warnings);
  }

  function showHead(status) {
    const names = (state) => status.mitigation.classes.filter((one) => one.state === state).map((one) => one.name);
    const [attacked, elevated] = [names("attack"), names("elevated")];
    const [style, text] = attacked.length > 0 ? ["bad", `● Under attack: ${attacked.join(", ")}`]
      : elevated.length > 0 ? ["odd", `◐ Over budget: ${elevated.join(", ")}`]
        : ["good", "○ No class is pressed"];
    const observe = status.mode === "observe" ? ". Observe mode: nothing is dropped" : "";
    write(byId("state"), text + observe, `state ${style}`);
    const refused = status.config.last_refused ? ", the last reload was refused" : "";
    write(byId("facts"), `${status.version}, up ${span((Date.parse(status.at) - Date.parse(status.started)) / 1000)}, ` +
      `mode ${status.mode}, configuration of ${time(status.config.loaded)}${refused}, as of ${time(status.at)}`, "quiet");
    document.title = (attacked.length > 0 ? "● attack – " : "") + "xdp-throttle";
  }

  // What a screen reader is told: changes of states, nothing that merely counts.
  function changes(before, now) {
    const said = [];
    if (before.started !== now.started) said.push("The daemon was started again.");
    if (before.mode !== now.mode) said.push(`Mode ${now.mode}.`);
    const was = new Map(before.mitigation.classes.map((one) => [one.name, one.state]));
    for (const one of now.mitigation.classes) {
      if ((was.get(one.name) ?? "normal") !== one.state) said.push(`${one.name}: ${STATES[one.state][1].slice(2)}.`);
    }
    const held = new Map(before.interfaces.map((one) => [one.name, one.attached]));
    for (const one of now.interfaces) {
      if (held.has(one.name) && held.get(one.name) !== one.attached) said.push(`${one.name}: ${one.attached ? "attached" : "not attached"}.`);
    }
    return said;
  }

  let last = null;
  let failed = false;
  let timer = 0;
  const paused = () => byId("pause").getAttribute("aria-pressed") === "true";
  const say = (text) => write(byId("notice"), text);

  function show(status) {
    const at = Date.parse(status.at);
    const said = last === null ? [] : changes(last, status);
    if (last?.started !== status.started) counters = new Map();
    if (failed) said.unshift("The daemon answers again.");
    if (said.length > 0) say(`${time(status.at)} ${said.join(" ")}`);
    [last, failed] = [status, false];
    byId("main").hidden = false;
    showHead(status);
    showNow(status, at);
    showReasons(status, at);
    showClasses(status, at);
    showSources(status.sources);
    showInterfaces(status, at);
    showRest(status);
  }

  async function ask() {
    try {
      const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const status = await answer.json();
      // A pause that came meanwhile holds.
      if (!paused()) show(status);
    } catch (error) {
      if (!failed) {
        const old = last === null ? "" : `, figures are of ${time(last.at)}`;
        write(byId("state"), `✕ No answer from the daemon (${error.message})${old}`, "state bad");
        say("The daemon doesn't answer.");
      }
      failed = true;
    }
  }

  // Asked again only after the answer, so that a slow daemon isn't asked twice at once.
  async function go() {
    clearTimeout(timer);
    if (paused()) return;
    if (!document.hidden) await ask();
    clearTimeout(timer);
    timer = setTimeout(go, EVERY);
  }

  byId("pause").addEventListener("click", () => {
    const pause = !paused();
    byId("pause").setAttribute("aria-pressed", String(pause));
    if (!pause) go();
    else if (last !== null) write(byId("state"), `Paused: figures are of ${time(last.at)}`, "state odd");
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) go(); });
  byId("pause").hidden = false;
  go();
})();
