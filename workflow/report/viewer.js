"use strict";
// The interactive brain of section Look. Niivue draws; the values that are read out come from
// the volumes themselves, which are those of the results.
(() => {
  const data = document.getElementById("viewer-data");
  const packed = document.getElementById("viewer-niivue");
  if (!data || !packed) return;
  const at = (name) => document.getElementById(`viewer-${name}`);
  const says = at("says");
  const figures = "The figure below shows the same maps.";

  function giveUp(reason) {
    at("canvas")?.closest("#viewer").setAttribute("hidden", "");
    says.textContent = `The interactive brain is not shown: ${reason}. ${figures}`;
    says.hidden = false;
  }

  function hasWebGL() {
    const gl = document.createElement("canvas").getContext("webgl2");
    gl?.getExtension("WEBGL_lose_context")?.loseContext();
    return Boolean(gl);
  }

  async function unpack(base64) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  // A NIfTI-1 file of handhold: little-endian, one volume, float32 or uint8, sform in mm.
  class Volume {
    constructor(buffer) {
      const header = new DataView(buffer);
      const float = (byte) => header.getFloat32(byte, true);
      this.buffer = buffer;
      this.shape = [42, 44, 46].map((byte) => header.getInt16(byte, true));
      const rows = [280, 296, 312].map((byte) => [0, 4, 8, 12].map((i) => float(byte + i)));
      const [a, b, c] = [0, 1, 2].map((i) => rows.map((row) => row[i]));
      this.origin = rows.map((row) => row[3]);
      const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
      const size = dot(a, cross(b, c));
      this.inverse = [cross(b, c), cross(c, a), cross(a, b)].map((row) => row.map((x) => x / size));
      const kind = header.getInt16(70, true) === 2 ? Uint8Array : Float32Array;
      this.values = new kind(buffer, float(108));
    }

    // The value of the voxel that holds a place (MNI mm); no number outside.
    value(place) {
      const from = place.map((mm, i) => mm - this.origin[i]);
      const voxel = this.inverse.map((row) => Math.floor(row[0] * from[0] + row[1] * from[1] + row[2] * from[2] + 0.5));
      if (voxel.some((v, i) => v < 0 || v >= this.shape[i])) return NaN;
      return this.values[voxel[0] + this.shape[0] * (voxel[1] + this.shape[1] * voxel[2])];
    }
  }

  const written = (number) => Number(number.toPrecision(4)).toString().replace("-", "\u2212");

  // The colour of a share (0 to 1) of a scale, between stops that are evenly apart.
  function colourOf(stops, share) {
    const along = Math.min(share, 1) * (stops.length - 1);
    const i = Math.min(Math.floor(along), stops.length - 2);
    return stops[i].map((from, c) => from + (along - i) * (stops[i + 1][c] - from));
  }

  // A volume of colours on the same voxels: niivue draws it as it is, interpolating nothing.
  function inColour(volume) {
    const buffer = new ArrayBuffer(352 + 4 * volume.values.length);
    new Uint8Array(buffer).set(new Uint8Array(volume.buffer, 0, 352));
    const header = new DataView(buffer);
    header.setInt16(70, 2304, true); // red, green, blue and opacity, a byte each
    header.setInt16(72, 32, true);
    header.setFloat32(108, 352, true);
    return buffer;
  }

  async function start() {
    const view = JSON.parse(data.textContent);
    const { attenuation, receptor, rois, colours } = view;
    const program = document.createElement("script");
    // The policy of the page names the hash of this very text, and lets no other run.
    program.textContent = new TextDecoder().decode(await unpack(packed.textContent.trim()));
    document.head.append(program);
    const Niivue = globalThis.handholdNiivue;
    if (!Niivue) throw new Error("niivue did not start");
    const volumes = {};
    for (const [name, text] of Object.entries(view.volumes)) volumes[name] = new Volume(await unpack(text));

    at("canvas").closest("#viewer").removeAttribute("hidden");
    says.hidden = true;
    const canvas = at("canvas");
    let place = [0, 0, 0];
    const nv = new Niivue({
      logLevel: "error",
      backColor: [0, 0, 0, 1],
      fontColor: [0.85, 0.85, 0.85, 1],
      crosshairColor: [1, 1, 1, 0.75],
      crosshairWidth: 0.6,
      crosshairWidthUnit: "mm",
      crosshairGap: 6,
      isNearestInterpolation: true,
      isForceMouseClickToVoxelCenters: true,
      isSliceMM: true,
      isRadiologicalConvention: false,
      sagittalNoseLeft: false,
      dragAndDropEnabled: false,
      dragMode: 0,
      multiplanarShowRender: 0,
      multiplanarPadPixels: 12,
      showAllOrientationMarkers: true,
      loadingText: "",
      viewModeHotKey: "",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      onLocationChange: (location) => show(Array.from(location.mm).slice(0, 3)),
    });
    // On paper the brain has no size, which WebGL would complain of.
    const draw = nv.drawScene.bind(nv);
    nv.drawScene = () => (canvas.clientWidth && canvas.clientHeight ? draw() : undefined);
    await nv.attachToCanvas(canvas);

    const add = (file, buffer, options) => nv.addVolumeFromUrl({ url: file, name: file.replace(".gz", ""), buffer, ...options });
    // dim, so that colours and outlines stand out from white matter
    await add(view.template.file, volumes[view.template.file].buffer, { colormap: "gray", cal_min: 0, cal_max: 400 });
    const layers = {};
    const drawn = { receptor: receptor.file, rois: rois.file };
    if (attenuation.maps.length) drawn.attenuation = attenuation.maps[0].file;
    for (const name of ["attenuation", "receptor", "rois"].filter((name) => drawn[name])) {
      layers[name] = await add(drawn[name], inColour(volumes[drawn[name]]), {});
    }

    const chosen = () => Number(at("contrast")?.value ?? 0);
    const amount = (name) => Number(at(name)?.value ?? 0);

    function say(name) {
      const input = at(name);
      const unit = input.dataset.unit;
      const hidden = unit && Number(input.value) === 0 ? " (hidden)" : "";
      const text = unit ? `${input.value}\u00a0${unit}${hidden}` : written(Number(input.value));
      at(`${name}-is`).textContent = text;
      input.setAttribute("aria-valuetext", text);
    }

    // Colour what is measured: weak values are faint by their square, or hidden.
    function colour(name, volume, limit, stopsOf) {
      const [pixels, values] = [layers[name].img, volume.values];
      const opacity = 2.55 * amount(`${name}-opacity`);
      const threshold = amount(`${name}-threshold`);
      const faint = at(`${name}-faint`).checked;
      pixels.fill(0);
      for (let i = 0; i < values.length; i++) {
        const size = Math.abs(values[i]);
        const stops = stopsOf(values[i]);
        if (!(size > 0) || !stops || (size < threshold && !faint)) continue;
        pixels.set(colourOf(stops, size / limit), 4 * i);
        pixels[4 * i + 3] = opacity * (size < threshold ? (size / threshold) ** 2 : 1);
      }
    }

    function outline() {
      const [pixels, { values, shape }] = [layers.rois.img, volumes[rois.file]];
      const opacity = 2.55 * amount("rois-opacity");
      const steps = [1, shape[0], shape[0] * shape[1]].flatMap((step) => [step, -step]);
      const colours_ = new Map(rois.labels.map((own) => [own.label, colours.rois[rois.names.indexOf(own.rois[0]) % colours.rois.length]]));
      pixels.fill(0);
      for (let i = 0; i < values.length; i++) {
        if (!values[i] || steps.every((step) => values[i + step] === values[i])) continue;
        pixels.set([...colours_.get(values[i]), opacity], 4 * i);
      }
    }

    const painters = {
      attenuation: () => colour("attenuation", volumes[attenuation.maps[chosen()].file], attenuation.limit, (v) => (v > 0 ? colours.warm : colours.blue)),
      receptor: () => colour("receptor", volumes[receptor.file], receptor.limit, (v) => v > 0 && colours.green),
      rois: outline,
    };

    // A slider moves faster than a brain is drawn: what was turned is painted once a frame.
    const turned = new Set();
    function paint(name) {
      const waits = turned.size > 0;
      turned.add(name);
      if (waits) return;
      requestAnimationFrame(() => {
        for (const name of turned) painters[name]();
        turned.clear();
        nv.updateGLVolume();
      });
    }

    function row(term, ...parts) {
      const box = document.createElement("div");
      const [dt, dd] = ["dt", "dd"].map((tag) => document.createElement(tag));
      dt.textContent = term;
      dd.append(...parts);
      box.append(dt, dd);
      return box;
    }

    function measured(name, value, unit, words) {
      const number = document.createElement("data");
      number.value = String(value);
      number.dataset.map = name;
      number.textContent = Number.isFinite(value) ? written(value) : "no value";
      return Number.isFinite(value) ? [number, ` ${unit}${words}`] : [number];
    }

    function show(mm) {
      place = mm.map((v) => Math.round(v * 10) / 10 + 0);
      ["x", "y", "z"].forEach((axis, i) => (at(axis).value = place[i]));
      const spoken = `x ${written(place[0])}, y ${written(place[1])}, z ${written(place[2])} mm`;
      const rows = [row("Place", spoken)];
      attenuation.maps.forEach((map, i) => {
        const value = volumes[map.file].value(place);
        const words = value > 0 ? `: ${attenuation.lowered}` : value < 0 ? `: ${attenuation.raised}` : "";
        rows.push(row(`Attenuation, ${map.contrast}`, ...measured(map.contrast, value, attenuation.unit, words)));
      });
      rows.push(row(receptor.label, ...measured("receptor", volumes[receptor.file].value(place), receptor.unit, "")));
      const label = volumes[rois.file].value(place);
      const inside = rois.labels.find((own) => own.label === label);
      rows.push(row("ROI", inside ? inside.rois.join(", ") : "none"));
      at("values").replaceChildren(...rows);
    }

    function go(to) {
      nv.scene.crosshairPos = nv.mm2frac(to);
      nv.drawScene();
      show(to);
    }

    const sliders = ["attenuation-opacity", "attenuation-threshold", "receptor-opacity", "receptor-threshold", "rois-opacity"];
    for (const name of sliders.filter((name) => at(name))) {
      at(name).addEventListener("input", () => (say(name), paint(name.split("-")[0])));
      say(name);
    }
    at("contrast")?.addEventListener("change", () => paint("attenuation"));
    for (const name of ["attenuation", "receptor"]) at(`${name}-faint`)?.addEventListener("change", () => paint(name));
    ["x", "y", "z"].forEach((axis, i) =>
      at(axis).addEventListener("change", () => {
        const to = [...place];
        to[i] = Number(at(axis).value) || 0;
        go(to);
      }),
    );
    at("go")?.addEventListener("change", (event) => {
      if (event.target.value) go(event.target.value.split(" ").map(Number));
      event.target.value = "";
    });

    // Keys and wheel belong to the brain only while it has the focus; niivue would take both.
    const steps = { ArrowLeft: [0, -2], ArrowRight: [0, 2], ArrowDown: [1, -2], ArrowUp: [1, 2], PageDown: [2, -2], PageUp: [2, 2] };
    const box = canvas.parentElement;
    box.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step && event.key === "Tab") return;
      event.stopPropagation();
      if (!step) return;
      event.preventDefault();
      const to = [...place];
      to[step[0]] += step[1];
      go(to);
    }, true);
    box.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas) event.stopPropagation();
    }, true);
    box.addEventListener("dblclick", (event) => event.stopPropagation(), true);
    // A finger scrolls the page; a tap reaches niivue as a click.
    for (const touch of ["touchstart", "touchmove", "touchend", "touchcancel"]) {
      box.addEventListener(touch, (event) => event.stopPropagation(), true);
    }
    canvas.addEventListener("webglcontextlost", () => giveUp("the browser took its graphics away; load the page again"));
    Object.keys(layers).forEach((name) => painters[name]());
    nv.updateGLVolume();
    const home = rois.places[0];
    go(home ? [home.x, home.y, home.z] : [0, 0, 0]);
    at("canvas").closest("#viewer").dataset.ready = "";
  }

  if (!hasWebGL()) {
    giveUp("this browser has no WebGL 2");
  } else if (!globalThis.DecompressionStream) {
    giveUp("this browser is too old to unpack it");
  } else {
    says.textContent = "The interactive brain appears when you scroll to it.";
    const watch = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      start().catch((error) => giveUp(error.message));
    }, { rootMargin: "600px" });
    watch.observe(document.getElementById("look"));
  }
})();
