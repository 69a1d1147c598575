"""What is read, and how far: the same for the prober and for the decoder, so that both see the same streams."""

# Containers that hold audio and are known by their content. Playlists, concat scripts, subtitles and pictures are
# left out, for they can name other files; so are headerless formats, for any bytes at all pass as those.
DEMUXERS = (
    "aac,aax,ac3,ac4,adx,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,gxf,iff,ircam,"
    "lc3,loas,matroska,webm,mlp,mov,mp4,m4a,3gp,3g2,mj2,mmf,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nsv,nut,ogg,oma,"
    "osq,paf,pvf,qcp,rm,shn,smjpeg,sox,swf,tak,truehd,tta,voc,vqf,w64,wav,wsd,wtv,wv,xwma"
)

MAX_STREAMS = 128  # a broadcast multiplex has some dozens; headers of a few bytes can claim thousands

INPUT_OPTIONS = {
    # One open file, which the reader is handed: whatever else a file names, there is no way to open it.
    "protocol_whitelist": "fd",
    "format_whitelist": DEMUXERS,
    "max_streams": str(MAX_STREAMS),
    # Broadcast and camera streams may start with half a minute of picture before the first sound.
    "probesize": str(32 * 1024**2),
    "analyzeduration": str(30 * 1_000_000),
}
