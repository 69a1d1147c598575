"""Which containers are read, and how far: the same for prober and decoder, so that both see the same streams."""

# Containers of audio that are recognized by their content. Not playlists, concat scripts, subtitles and pictures, which
# can refer to other files; nor headerless formats, which any bytes pass for.
DEMUXERS = (
    "aac,aax,ac3,ac4,adx,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,gxf,iff,ircam,"
    "lc3,loas,matroska,webm,mlp,mov,mp4,m4a,3gp,3g2,mj2,mmf,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nsv,nut,ogg,oma,"
    "osq,paf,pvf,qcp,rm,shn,smjpeg,sox,swf,tak,truehd,tta,voc,vqf,w64,wav,wsd,wtv,wv,xwma"
)

MAX_STREAMS = 128  # a broadcast multiplex has some dozens; headers of a few bytes can claim thousands

INPUT_OPTIONS = {
    # The reader gets one open file and cannot open any other that the file refers to.
    "protocol_whitelist": "fd",
    "format_whitelist": DEMUXERS,
    "max_streams": str(MAX_STREAMS),
    # Broadcast and camera streams may start with half a minute of picture before the first sound.
    "probesize": str(32 * 1024**2),
    "analyzeduration": str(30 * 1_000_000),
}
