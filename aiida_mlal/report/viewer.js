"use strict";
// Shows structures that can be turned. Frames come as JSON in the page; links to "#query-N" choose one.
(() => {
  const source = document.getElementById("frames");
  const canvas = document.getElementById("viewer");
  if (!source || !canvas) return;
  const { elements, frames } = JSON.parse(source.textContent);
  const byId = new Map(frames.map((frame) => [frame.id, frame]));
  const pen = canvas.getContext("2d");
  const choice = document.getElementById("which");
  const arrows = document.getElementById("arrows");
  const tip = document.getElementById("tip");
  const VIEWS = {
    z: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    y: [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    x: [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
  };
  let turn = VIEWS.y, zoom = 1, frame = frames[0];

  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const apply = (p) => turn.map((row) => dot(row, p));
  const point = (list, i) => [list[3 * i], list[3 * i + 1], list[3 * i + 2]];

  function rotate(right, up) {
    const about = (i, j, angle) => {
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      const [a, b] = [turn[i], turn[j]];
      turn = turn.map((row, k) => row.map((_, n) =>
        k === i ? c * a[n] - s * b[n] : k === j ? s * a[n] + c * b[n] : row[n]));
    };
    about(0, 2, -right);
    about(1, 2, up);
    draw();
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const n = frame.z.length;
    const corners = frame.cell ? [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => [0, 1, 2].map((k) =>
      [0, 1, 2].reduce((sum, v) => sum + (bits >> v & 1) * frame.cell[3 * v + k], 0))) : [];
    const atoms = Array.from({ length: n }, (_, i) => point(frame.p, i));
    const middle = [0, 1, 2].map((k) =>
      (Math.min(...atoms.map((p) => p[k])) + Math.max(...atoms.map((p) => p[k]))) / 2);
    const away = (p) => p.map((x, k) => x - middle[k]);
    const reach = 1.5 + Math.max(...atoms.map((p) => Math.hypot(...away(p))));
    const scale = zoom * Math.min(width, height) / (2 * reach);
    const place = (p) => {
      const [x, y, depth] = apply(away(p));
      return [width / 2 + scale * x, height / 2 - scale * y, depth];
    };
    const line = (a, b, style, thick, dash = []) => {
      pen.strokeStyle = style;
      pen.lineWidth = thick;
      pen.setLineDash(dash);
      pen.beginPath();
      pen.moveTo(a[0], a[1]);
      pen.lineTo(b[0], b[1]);
      pen.stroke();
      pen.setLineDash([]);
    };
    corners.forEach((corner, bits) => [1, 2, 4].forEach((bit) => {
      if (!(bits & bit)) line(place(corner), place(corners[bits | bit]), "#999", 1, [4, 3]);
    }));
    const held = new Set(frame.held);
    const things = atoms.map((p, i) => {
      const at = place(p);
      return [at[2], () => atom(at, frame.z[i], held.has(i), scale)];
    });
    for (const [i, j] of frame.bonds) {
      const [a, b] = [place(atoms[i]), place(atoms[j])];
      things.push([Math.min(a[2], b[2]) - 0.01, () => line(a, b, "#888", Math.max(1.5, 0.16 * scale))]);
    }
    if (arrows && arrows.checked && frame.f) {
      const longest = Math.max(1e-9, ...atoms.map((_, i) => Math.hypot(...point(frame.f, i))));
      atoms.forEach((p, i) => {
        const force = point(frame.f, i);
        const end = p.map((x, k) => x + 2.5 * force[k] / longest);
        const [a, b] = [place(p), place(end)];
        if (Math.hypot(...force) > 0.02 * longest) things.push([Math.max(a[2], b[2]) + 2, () => arrow(a, b, line)]);
      });
    }
    things.sort((a, b) => a[0] - b[0]).forEach((thing) => thing[1]());
  }

  function atom(at, z, held, scale) {
    const [, colour, radius] = elements[z];
    const size = 0.7 * radius * scale;
    const shine = pen.createRadialGradient(at[0] - size / 3, at[1] - size / 3, size / 8, at[0], at[1], size);
    shine.addColorStop(0, "#fff");
    shine.addColorStop(0.35, colour);
    shine.addColorStop(1, colour);
    pen.fillStyle = shine;
    pen.strokeStyle = "#333";
    pen.lineWidth = 0.7;
    pen.beginPath();
    pen.arc(at[0], at[1], size, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
    if (!held) return;
    const arm = Math.min(4, size / 2);
    pen.beginPath();
    for (const s of [1, -1]) {
      pen.moveTo(at[0] - arm, at[1] - s * arm);
      pen.lineTo(at[0] + arm, at[1] + s * arm);
    }
    pen.stroke();
  }

  function arrow(a, b, line) {
    line(a, b, "#D55E00", 2);
    const angle = Math.atan2(b[1] - a[1], b[0] - a[0]);
    for (const side of [2.7, -2.7]) {
      line(b, [b[0] + 7 * Math.cos(angle + side), b[1] + 7 * Math.sin(angle + side)], "#D55E00", 2);
    }
  }

  function show(id) {
    if (!byId.has(id)) return;
    frame = byId.get(id);
    choice.value = id;
    const about = document.getElementById("about");
    about.replaceChildren(...frame.about.flatMap(([name, value]) => [["dt", name], ["dd", value]].map(
      ([tag, text]) => Object.assign(document.createElement(tag), { textContent: text }))));
    document.querySelectorAll("tr.chosen").forEach((row) => row.classList.remove("chosen"));
    document.getElementById(id)?.classList.add("chosen");
    draw();
  }

  const linked = (event) => event.target.closest?.('a[href^="#query-"]')?.getAttribute("href").slice(1);
  document.addEventListener("click", (event) => {
    const id = linked(event);
    if (!byId.has(id)) return;
    event.preventDefault();
    show(id);
    canvas.scrollIntoView({ block: "nearest", behavior: "smooth" });
  });
  document.addEventListener("mouseover", (event) => {
    const shown = byId.get(linked(event));
    tip.hidden = !shown;
    if (!shown) return;
    tip.textContent = shown.name;
    tip.style.left = `${Math.min(event.pageX + 12, document.body.scrollWidth - 240)}px`;
    tip.style.top = `${event.pageY + 14}px`;
  });
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) rotate(0.01 * event.movementX, 0.01 * event.movementY);
  });
  const keys = {
    ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1],
  };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    rotate(...keys[event.key]);
  });
  document.querySelectorAll("[data-view]").forEach((button) => button.addEventListener("click", () => {
    turn = VIEWS[button.dataset.view];
    draw();
  }));
  document.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", () => {
    zoom *= Number(button.dataset.zoom);
    draw();
  }));
  choice.addEventListener("change", () => show(choice.value));
  arrows?.addEventListener("change", draw);
  choice.replaceChildren(...frames.map((one) => new Option(one.title, one.id)));
  window.addEventListener("resize", draw);
  document.getElementById("turnable").hidden = false;
  rotate(0.35, 0.25);
  const asked = location.hash.slice(1);
  show(byId.has(asked) ? asked : frame.id);
})();
